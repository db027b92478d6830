"""Disks that fill up or turn read-only under a process, really; planted by `forked.Launcher`."""

import resource
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from beft.store import files


def _before_write(number: int, act: Callable[[], None]) -> None:
    """Acts before the library writes its n-th file."""
    real, calls = files._write, []

    def counted(path: Path, content: bytes) -> None:
        calls.append(path)
        if len(calls) == number:
            act()
        real(path, content)

    files._write = counted


def fill(path: Path, room: int = 0) -> None:
    """Writes a file that leaves this many bytes of its disk."""
    with path.open("ab", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            file.truncate(max(0, file.tell() // 4096 * 4096 - room))


def fill_at(number: int, filler: str, room: int) -> None:
    """The disk of `filler` is full, but for so many bytes, from the n-th file on."""
    _before_write(number, lambda: fill(Path(filler), room))


def read_only_at(number: int, folder: str) -> None:
    """The folder turns read-only before the n-th file, whatever is open in it."""
    _before_write(number, lambda: read_only(Path(folder)))


def read_only(folder: Path) -> None:
    """Until `writable`. Not even root may write then."""
    _call("mount", "--bind", folder, folder)
    _call("mount", "-o", "remount,bind,ro", folder)


def writable(folder: Path) -> None:
    """Undoes `read_only`."""
    _call("umount", "-l", folder)


def mounted(folder: Path, size: str) -> bool:
    """Gives an empty folder a disk of its own; False where that is not permitted."""
    with suppress(subprocess.CalledProcessError, FileNotFoundError):
        _call("mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "beft-tests", folder)
        return True
    return False


def _call(*command: object) -> None:
    subprocess.run([str(word) for word in command], check=True, capture_output=True)


def largest_file(size: int) -> None:
    """No file may be larger, as where a quota is used up."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
