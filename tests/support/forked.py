"""Commands as processes of their own, without paying for their imports each time.

A launcher imports beft, snakemake and dvc once and forks a child for every call. The programs in
the folder `shims()` call it, so that these commands are warm wherever a test, a rule of the
workflow or a stage of dvc starts them. The workers of a test run share one launcher. A call may
plant a failure in its child first. Run as a script, this file is the launcher.
"""

import atexit
import fcntl
import gc
import importlib
import json
import os
import pkgutil
import selectors
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
# Variables: the launcher's folder; a folder with a copy of the library that a call uses instead.
FOLDER, LIBRARY = "BEFT_TESTS_LAUNCHER", "BEFT_TESTS_LIBRARY"
PROGRAMS = {"beft": "beft.cli.app:main", "snakemake": "snakemake.cli:main", "dvc": "dvc.cli:main"}
# Packages that are imported with all they hold, and modules that are imported when first used.
PACKAGES = ("beft", "dvc.commands", "dvc.repo")
MODULES = (
    *("torch", "transformers", "peft", "pandas", "matplotlib.pyplot", "snakemake.api"),
    *("snakemake_executor_plugin_slurm", "snakemake_executor_plugin_slurm_jobstep"),
)
# Stands for a program: same folder, variables, files; passes signals on and ends as the child does.
SHIM = """#!{python} -IS
import json, os, signal, socket, sys
command = [{name!r}, *sys.argv[1:]]
if command[0] == "python":
    if command[1:3] != ["-m", "snakemake"]:
        os.execv({python!r}, command)
    command = command[2:]
link = socket.socket(socket.AF_UNIX)
link.connect({address!r})
socket.send_fds(link, [b"0"], [0, 1, 2])
order = [command, os.getcwd(), dict(os.environ), []]
link.sendall(json.dumps(order).encode() + b"\\n")
answers = link.makefile()
child = int(answers.readline())
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
    signal.signal(number, lambda number, frame: os.kill(child, number))
status = int(answers.readline())
if status < 0:
    if status != -signal.SIGKILL:
        signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
sys.exit(status)
"""


class Done(NamedTuple):
    """How a call ended: its exit status (negative: the signal that ended it) and what it said."""

    status: int
    said: str

    def line(self) -> str:
        """The one line that is for the user."""
        (line,) = [line for line in self.said.splitlines() if line.startswith("beft: ")]
        return line


class Call:
    """A command that runs in a child of the launcher; `pid` is the child's."""

    def __init__(
        self, command: list[str], folder: Path, variables: Mapping[str, str], plant: tuple = ()
    ) -> None:
        self.output = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.link = socket.socket(socket.AF_UNIX)
        self.link.connect(_address(_running()))
        with Path(os.devnull).open() as nothing:
            files = [nothing.fileno(), self.output.fileno(), self.output.fileno()]
            socket.send_fds(self.link, [b"0"], files)
        order = [command, str(folder), dict(variables), plant]
        self.link.sendall(json.dumps(order).encode() + b"\n")
        self.answers = self.link.makefile()
        self.pid = int(self.answers.readline())

    def said(self) -> str:
        """What it has printed so far."""
        return os.pread(self.output.fileno(), 1 << 30, 0).decode()

    def ended(self) -> bool:
        with selectors.DefaultSelector() as selector:
            selector.register(self.link, selectors.EVENT_READ)
            return bool(selector.select(0))

    def wait(self) -> Done:
        """Waits for its end."""
        with self.link, self.output:
            return Done(int(self.answers.readline()), self.said())


def shims() -> str:
    """The folder of programs that call the launcher."""
    return str(_running() / "bin")


def _address(folder: Path) -> str:
    return str(folder / "socket")


@cache
def _running() -> Path:
    """The folder of the launcher, which is started when it is first asked for."""
    folder = Path(os.environ.get(FOLDER) or tempfile.mkdtemp(prefix="beft-", dir="/tmp"))
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not (folder / "bin").exists():
            _start(folder)
    return folder


def _start(folder: Path) -> None:
    """Starts the launcher; it ends with this process, whose end of a pipe it holds."""
    kept = {k: v for k, v in os.environ.items() if k != "BEFT_MIRROR"}
    # Fonts as they are found here, whatever a cache of somebody else's says.
    kept |= {"MPLCONFIGDIR": str(folder / "fonts"), "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    kept |= {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0", "DVC_NO_ANALYTICS": "1"}
    kept["HF_HUB_OFFLINE"] = "0"  # read when it is imported; commands must not rely on it
    process = subprocess.Popen(
        [sys.executable, "-m", "support.forked", _address(folder)],
        env=kept,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"ready\n"
    _start.process = process
    (folder / "making").mkdir()
    for name in (*PROGRAMS, "python"):
        path = folder / "making" / name
        path.write_text(SHIM.format(python=sys.executable, address=_address(folder), name=name))
        path.chmod(0o755)
    (folder / "making").rename(folder / "bin")


def _warm_up() -> None:
    from beft import code_identity
    from beft.store import accepted_code

    for name in PACKAGES:
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(package.__path__, f"{name}."):
            with suppress(ImportError):
                importlib.import_module(module.name)
    for name in (*MODULES, *(target.partition(":")[0] for target in PROGRAMS.values())):
        importlib.import_module(name)
    digest = code_identity.code_digest()  # kept by the process, and so by its children
    code_identity.report_digest()
    # The code is not what is verified here, and may be in the middle of a change.
    accepted_code.accepted = lambda: [digest]


def serve(address: str) -> None:
    """Answers calls until whoever started the launcher is gone."""
    _warm_up()
    gc.collect()
    gc.freeze()  # children share these pages as long as nobody touches them
    selector = selectors.DefaultSelector()
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(address)
    listening.listen(64)
    selector.register(listening, selectors.EVENT_READ)
    selector.register(sys.stdin, selectors.EVENT_READ)
    running: dict[int, socket.socket] = {}
    print("ready", flush=True)
    while True:
        for key, _ in selector.select():
            if key.fileobj is listening:
                link, child = _begin(listening.accept()[0], [listening, *running.values()])
                running[child] = link
                selector.register(link, selectors.EVENT_READ, child)
                selector.register(os.pidfd_open(child), selectors.EVENT_READ, child)
            elif key.fileobj is sys.stdin:
                for child in running:
                    os.kill(child, 9)
                return
            elif isinstance(key.fileobj, socket.socket):  # the caller is gone: so must its call be
                selector.unregister(key.fileobj)
                os.kill(key.data, 9)
            else:
                selector.unregister(key.fd)
                os.close(key.fd)
                status = os.waitstatus_to_exitcode(os.waitpid(key.data, 0)[1])
                with running.pop(key.data) as link, suppress(OSError, KeyError):
                    link.sendall(f"{status}\n".encode())
                    selector.unregister(link)


def _begin(link: socket.socket, others: list[socket.socket]) -> tuple[socket.socket, int]:
    """Forks a child for a call."""
    _, files, _, _ = socket.recv_fds(link, 1, 3)
    order = json.loads(link.makefile().readline())
    child = os.fork()
    if child == 0:
        for each in (link, *others):
            each.close()
        live(files, *order)
    for file in files:
        os.close(file)
    link.sendall(f"{child}\n".encode())
    return link, child


def live(files: list[int], command: list, folder: str, variables: dict, plant: list) -> None:
    """What a child does; never returns."""
    status = 1
    try:
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        os.setsid()
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(variables)
        time.tzset()
        sys.argv = command
        if command[0] == "snakemake":  # calls itself as a module, in jobs on a cluster
            sys.executable = str(Path(variables["PATH"].partition(os.pathsep)[0]) / "python")
        if LIBRARY in variables:
            for name in [name for name in sys.modules if name.partition(".")[0] == "beft"]:
                del sys.modules[name]
            sys.path.insert(0, variables[LIBRARY])
        if plant:
            pkgutil.resolve_name(plant[0])(*plant[1:])
        status = pkgutil.resolve_name(PROGRAMS[command[0]])() or 0
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        with suppress(BaseException):
            threading._shutdown()
            atexit._run_exitfuncs()
        with suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    serve(sys.argv[1])
