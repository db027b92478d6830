"""Take the network from this process for good, and bound its memory; for a child that reads files.

Nothing here needs rights: the kernel's filter of system calls (seccomp) is for everybody.
"""

import ctypes
import os
import resource
import sys
from pathlib import Path

# What the kernel calls the machine, and its numbers of the calls that lead to a network:
# socket, and io_uring_setup, through which sockets can be made without it.
CALLS = {"x86_64": (0xC000003E, (41, 425)), "aarch64": (0xC00000B7, (198, 425))}
FOREIGN = 0x40000000  # from this number on, x86_64 has the same calls for another kind of program
# Beginnings of the names of events that Python reports before they happen.
REFUSED = ("socket.", "subprocess.", "os.exec", "os.fork", "os.posix_spawn", "os.system", "pty.")

# Instructions of the filter: load a word; compare, then jump; return.
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _KILL, _NOT_PERMITTED = 0x7FFF0000, 0x80000000, 0x00050001
_NO_NEW_PRIVILEGES, _SET_FILTER, _DIE_WITH_PARENT = 38, 22, 1


class _Instruction(ctypes.Structure):
    _fields_ = [
        ("code", ctypes.c_ushort),
        ("if_true", ctypes.c_ubyte),
        ("if_false", ctypes.c_ubyte),
        ("value", ctypes.c_uint32),
    ]


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("first", ctypes.POINTER(_Instruction))]


def without_network() -> bool:
    """The kernel refuses sockets from now on; call it before any thread was started.

    Returns whether it does: not on a machine whose calls are not listed here, nor where it lacks
    such filters. Then `only_reading` is what refuses them, to code in Python.
    """
    machine = os.uname().machine
    return machine in CALLS and _filter(*CALLS[machine])


def die_with_parent() -> None:
    """Ends this process when the one that started it ends, however that happens."""
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, 9, 0, 0, 0)


def only_reading(memory: int, file_size: int) -> None:
    """Refuses sockets and new programs, and bounds memory and the size of files that are written.

    Args:
        memory: bytes that may be added to what this process has now. Mapped files count.
        file_size: bytes of the largest file.
    """
    sys.addaudithook(_refuse)
    status = Path("/proc/self/status").read_text()
    now = 1024 * next(int(line.split()[1]) for line in status.splitlines() if "VmSize" in line)
    resource.setrlimit(resource.RLIMIT_AS, (now + memory, now + memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _refuse(event: str, arguments: object) -> None:
    if event.startswith(REFUSED):
        raise PermissionError(f"{event} is not permitted here")


def _filter(architecture: int, calls: tuple[int, ...]) -> bool:
    number, kind = 0, 4  # where the kernel puts the number of a call and the machine
    steps = [(_LOAD, 0, 0, kind), (_EQUAL, 1, 0, architecture), (_RETURN, 0, 0, _KILL)]
    steps += [(_LOAD, 0, 0, number), (_AT_LEAST, len(calls) + 1, 0, FOREIGN)]
    for left, call in zip(range(len(calls), 0, -1), calls, strict=True):
        steps.append((_EQUAL, left, 0, call))
    steps += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _NOT_PERMITTED)]
    program = (_Instruction * len(steps))(*(_Instruction(*step) for step in steps))
    given = _Program(len(steps), program)
    prctl = ctypes.CDLL(None).prctl
    return prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0 and (
        prctl(_SET_FILTER, 2, ctypes.byref(given), 0, 0) == 0
    )
