"""What a process may do no more after it was confined; each in a process of its own."""

import os
import signal
import subprocess
import sys
import time

import pytest

from beft.data.mirror import confine

KERNEL = "from beft.data.mirror import confine; assert confine.without_network()\n"
PYTHON = "from beft.data.mirror import confine; confine.only_reading(2**28, 2**16)\n"


def ran(code: str) -> str:
    """The last line that a program says, on either stream."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return (done.stdout + done.stderr).strip().splitlines()[-1]


@pytest.mark.skipif(os.uname().machine not in confine.CALLS, reason="no filter for this machine")
@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import socket; socket.socket()", "PermissionError"),
        ("import socket; socket.create_connection(('127.0.0.1', 9))", "PermissionError"),
        ("import ctypes; print('native', ctypes.CDLL(None).socket(2, 1, 0))", "native -1"),
        ("import ctypes; print('local', ctypes.CDLL(None).socket(1, 1, 0))", "local -1"),
        ("import os, sys; sockets = 'import socket; socket.socket()'\n"
         "os.execv(sys.executable, ['python', '-c', sockets])", "PermissionError"),
        ("open('/proc/self/status').close(); print('reads')", "reads"),
        ("import threading; t = threading.Thread(target=print, args=['runs']); t.start()", "runs"),
    ],
)  # fmt: skip
def test_the_kernel_refuses_sockets_and_nothing_else(code, said):
    assert said in ran(KERNEL + code)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import socket; socket.socket()", "PermissionError: socket.__new__ is not permitted"),
        ("import subprocess; subprocess.run(['true'])", "PermissionError: subprocess.Popen"),
        ("import os; os.system('true')", "PermissionError: os.system"),
        ("import os; os.fork()", "PermissionError: os.fork"),
        ("bytearray(2**29)", "MemoryError"),
        ("print(len(bytearray(2**27)))", str(2**27)),
        ("open('/tmp/beft-large', 'wb', 0).write(bytes(2**17)); import os\n"
         "print(os.stat('/tmp/beft-large').st_size); os.unlink('/tmp/beft-large')", str(2**16)),
    ],
)  # fmt: skip
def test_programs_memory_and_files_are_bounded(code, said):
    assert said in ran(PYTHON + code)


def test_a_child_does_not_outlive_its_parent():
    """Two writers would meet if a killed fetch left one behind."""
    child = (
        "import os, time; from beft.data.mirror import confine; confine.die_with_parent(); "
        "print(os.getpid(), flush=True); time.sleep(60)"
    )
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    number = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 10
    while alive(number):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def alive(number: int) -> bool:
    try:
        with open(f"/proc/{number}/stat") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
