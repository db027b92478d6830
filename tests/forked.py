"""Calls of `beft` as processes of their own, without paying for its imports each time.

A launcher imports the library once and forks a child for every call; the child may be told to plant
a failure in itself first. Run as a script, this file is the launcher.
"""

import importlib
import json
import operator
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import sandbox


class Done(NamedTuple):
    """How a call ended: its exit status (negative: the signal that ended it) and what it said."""

    status: int
    said: str

    def line(self) -> str:
        """The one line that is for the user."""
        (line,) = [line for line in self.said.splitlines() if line.startswith("beft: ")]
        return line


class Launcher:
    """A process that is ready to become any `beft` command."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            env=sandbox.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def beft(self, folder: Path, *arguments: str, plant: tuple = (), **variables: str) -> Done:
        """Calls a command in a folder.

        Args:
            plant: a function as "module.function", and its arguments; called in the child first.
        """
        log = folder.parent / f"{folder.name}.log"
        order = [str(folder), arguments, str(log), plant, variables]
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        status = int(self.process.stdout.readline())
        return Done(status, log.read_text())

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def serve() -> None:
    from beft import cli, numerics, runner

    assert runner  # all that a pack job needs is imported with it
    numerics.code_digest()  # kept by the process, and so by its children
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            live(cli.main, *json.loads(line))
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(status, flush=True)


def live(main, folder: str, arguments: list, log: str, plant: list, variables: dict) -> None:
    """What a child does; never returns."""
    with Path(log).open("w") as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
    os.chdir(folder)
    os.environ.update(variables)
    sys.argv = ["beft", *arguments]
    status = 1
    try:
        if plant:
            module, _, name = plant[0].partition(".")
            operator.attrgetter(name)(importlib.import_module(module))(*plant[1:])
        main()
    except SystemExit as end:
        status = end.code or 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    serve()
