"""Calls of `beft` as processes of their own, without paying for its imports each time.

A launcher imports the library once and forks a child for every call; the child may be told to plant
a failure in itself first. Run as a script, this file is the launcher.
"""

import json
import os
import pkgutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from support import sandbox

# A command `beft` for others to call, such as snakemake.
SHIM = """#!{python} -IS
import json, os, socket, sys
link = socket.socket(socket.AF_UNIX)
link.connect({address!r})
file = link.makefile("rw")
file.write(json.dumps([os.getcwd(), sys.argv[1:], [], {{}}]) + "\\n")
file.flush()
status, said = json.loads(file.readline())
sys.stderr.write(said)
sys.exit(status if status >= 0 else 128 - status)
"""


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

    def __init__(self, folder: Path) -> None:
        """Starts it; its socket lies in this folder."""
        self.folder, self.address = folder, str(folder / "socket")
        command = [sys.executable, "-m", "support.forked", self.address]
        pipe = subprocess.PIPE
        # Fonts as they are found here, whatever a cache of somebody else's says.
        fonts, tests = str(folder / "fonts"), str(sandbox.ROOT / "tests")
        variables = sandbox.environment(MPLCONFIGDIR=fonts, PYTHONPATH=tests)
        self.process = subprocess.Popen(command, env=variables, stdout=pipe)
        assert self.process.stdout.readline() == b"ready\n"
        shim = folder / "bin" / "beft"
        shim.parent.mkdir()
        shim.write_text(SHIM.format(python=sys.executable, address=self.address))
        shim.chmod(0o755)

    def beft(self, folder: Path, *arguments: str, plant: tuple = (), **variables: str) -> Done:
        """Calls a command in a folder.

        Args:
            plant: a function as "package.module.function", and its arguments; called in the child
                before the command.
        """
        with socket.socket(socket.AF_UNIX) as link:
            link.connect(self.address)
            file = link.makefile("rw")
            file.write(json.dumps([str(folder), arguments, plant, variables]) + "\n")
            file.flush()
            return Done(*json.loads(file.readline()))

    def snakemake(self, folder: Path, *arguments: str, check: bool = True):
        """Runs the workflow, whose jobs call the launcher."""
        path = f"{self.folder / 'bin'}{os.pathsep}{sandbox.environment()['PATH']}"
        return sandbox.snakemake(folder, *arguments, check=check, PATH=path)

    def close(self) -> None:
        self.process.terminate()
        self.process.communicate()


def serve(address: str) -> None:
    from beft import code_identity
    from beft.cli import app
    from beft.report import build
    from beft.store import accepted_code
    from beft.training import pack

    assert pack and build  # all that commands need is imported with them
    digest = code_identity.code_digest()  # kept by the process, and so by its children
    # The code is not what is verified here, and may be in the middle of a change.
    accepted_code.accepted = lambda: [digest]
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(address)
    listening.listen()
    print("ready", flush=True)
    while True:
        link, _ = listening.accept()
        with link, link.makefile("rw") as file:
            order = json.loads(file.readline())
            log = Path(f"{address}.log")
            child = os.fork()
            if child == 0:
                live(app.main, log, *order)
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            file.write(json.dumps([status, log.read_text()]) + "\n")
            file.flush()


def live(main, log: Path, folder: str, arguments: list, plant: list, variables: dict) -> None:
    """What a child does; never returns."""
    with log.open("w") as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
    os.chdir(folder)
    os.environ.update(variables)
    sys.argv = ["beft", *arguments]
    status = 1
    try:
        if plant:
            pkgutil.resolve_name(plant[0])(*plant[1:])
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
    serve(sys.argv[1])
