"""The command line: `beft COMMAND`. Every rule of the workflow calls one of these commands."""

import errno
import logging
import sys
from collections.abc import Callable
from itertools import pairwise

import typer

from beft import code_identity
from beft.cli import adapters, data, operations, own, predict, reports, training
from beft.cli.console import complain, drop_output, open_streams
from beft.errors import UserError

# The groups of `beft --help`: one's own data, then what a study needs, in this order.
GROUPS: dict[str, tuple[Callable[..., None], ...]] = {
    "Own data": (own.tune, predict.predict),
    "Data": (data.fetch, data.subsample),
    "Training": (training.train, training.time),
    "Reports": (
        *(reports.score, reports.collect, reports.tabulate, reports.plot, reports.page),
        *(reports.report, reports.summary, reports.compare),
    ),
    "Adapters": (adapters.export, adapters.merge, adapters.evaluate_merge),
    "Operations": (
        *(operations.plan, operations.verify, operations.prune),
        *(operations.recover, operations.schema),
    ),
}
# The system errors that are not the program's fault: full or read-only disks, missing permissions,
# readers that have gone, paths that are none, more files than a process may open.
MACHINE = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO),
    *(errno.EPIPE, errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR),
    *(errno.EMFILE, errno.ENFILE),
)

app = typer.Typer(
    name="beft",
    help="Choose and fine-tune one bias term per attention layer of a language model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for panel, commands in GROUPS.items():
    for command in commands:
        app.command(rich_help_panel=panel)(command)


def main() -> None:
    """Runs a command and exits: 0 on success, 2 and one line if the user can fix what is wrong."""
    open_streams()
    code_identity.pin()
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("beft").setLevel(logging.INFO)
    try:
        try:
            _check_empty(sys.argv[1:])
            code = app(sys.argv[1:] or ["--help"], standalone_mode=False)
        finally:
            sys.stdout.flush()
    except typer.Abort:
        sys.exit(130)
    except Exception as error:
        line = error if isinstance(error, UserError) else _line(error)
        if line is None:
            raise
        complain([line])
        drop_output()
        sys.exit(2)
    sys.exit(code)


def _check_empty(arguments: list[str]) -> None:
    """Raises UserError where an argument is empty: for a path, that would be this folder."""
    given = arguments[: arguments.index("--")] if "--" in arguments else arguments
    for before, word in pairwise(["", *given]):
        if word == "" or (word.startswith("--") and word.endswith("=")):
            name = word.removesuffix("=") or (before if before.startswith("--") else "an argument")
            raise UserError(f"{name} is empty; give a value (is a variable of the shell not set?)")


def _line(error: Exception) -> str | None:
    """The line to print about another error that the user can fix; None for all others."""
    if isinstance(error, OSError) and error.errno in MACHINE:
        return f"{error.filename or 'output'}: {error.strerror}"
    # typer exports BadParameter, but not the class of all usage errors, which has this method.
    message: str | None = getattr(error, "format_message", lambda: None)()
    return message
