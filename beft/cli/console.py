"""Printing on standard output and standard error."""

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from beft.errors import one_line

if TYPE_CHECKING:
    from rich.console import Console

WIDTH = 120  # characters of a line, where standard output is not a terminal


def console() -> "Console":
    """Standard output, as wide as the terminal."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)


def complain(lines: Iterable[str]) -> None:
    """Prints errors to standard error: each as one line that begins with `beft: `."""
    for line in lines:
        print(f"beft: {one_line(line)}", file=sys.stderr)
