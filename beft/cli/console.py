"""Printing on standard output and standard error."""

import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from beft.errors import UserError, one_line

if TYPE_CHECKING:
    from rich.console import Console

WIDTH = 120  # characters of a line, where standard output is not a terminal


def open_streams() -> None:
    """Opens the standard streams that whoever started this process has closed, as empty ones.

    Otherwise the next file to be opened would get such a stream's number, and with it all output.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # gets the lowest free number
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "r" if name == "stdin" else "w", closefd=False))


def drop_output() -> None:
    """Gives up what was printed but cannot be written; else Python tries again when it ends."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def console() -> "Console":
    """Standard output, as wide as the terminal."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)


def complain(errors: Iterable[object]) -> None:
    """Prints errors to standard error: each as one line that begins with `beft: `, and details."""
    with suppress(OSError):  # the exit status says it, too
        for error in errors:
            details = error.details if isinstance(error, UserError) else ()
            line = str(error).partition("\n")[0] if details else one_line(error)
            print("\n".join([f"beft: {line}", *details]), file=sys.stderr, flush=True)
