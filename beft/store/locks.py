"""Locks that hold on shared file systems: an owner with a name, known to live by its heartbeat.

A lock is the file `lock.1` in a folder, created exclusively (which network file systems do right,
unlike `flock`). Its owner rewrites a counter in it every few seconds. A process that sees the
counter unchanged for 60 s, or finds that the owner on this machine has died, takes the lock by
creating `lock.2`, and so on. Only one process can create that file, no file is deleted that another
process may hold, and clocks do not matter.
"""

import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from beft.errors import UserError
from beft.store.files import explain_os_errors
from beft.store.owners import is_alive, line, parse, this_process

log = logging.getLogger(__name__)

HEARTBEAT = 5.0  # seconds between two beats
PATIENCE = 60.0  # seconds without a beat after which an owner on another machine counts as dead


class Lock:
    """The lock of one folder; call `take` and `release`, or use one of the context managers."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.number = 0  # of the lock file that this process owns; 0 if it owns none
        self.seen: dict[int, tuple[bytes, float]] = {}  # of other owners: content, since when

    def take(self) -> str | None:
        """Tries to become the owner.

        Returns:
            None if this process owns the lock now; otherwise the name of the owner.

        Raises:
            UserError: when the folder cannot be written.
        """
        number, content = 1, None
        while not self._create(number, content):
            content = self._read(number)
            if content is None:
                number = 1  # released meanwhile
            elif self._path(number + 1).exists():
                number += 1  # taken over before
            elif self._lives(number, content):
                return str(parse(content) or "another process")
            else:
                number += 1
        return None

    def release(self) -> None:
        """Releases the lock, and removes the folder if nothing else is in it."""
        number, self.number = self.number, 0
        _BEATING.discard(self)
        if number and self._is_ours(number):
            for earlier in range(1, number + 1):  # the valid one last: no process gets in before
                with suppress(OSError):
                    self._path(earlier).unlink()
            with suppress(OSError):
                self.folder.rmdir()

    def _is_ours(self, number: int) -> bool:
        """Whether no other process took over, or removed the folder and created the lock anew."""
        content = self._read(number)
        mine = content is not None and parse(content) == this_process()
        return mine and not self._path(number + 1).exists()

    def check(self) -> None:
        """Checks that this process still owns the lock, which a pause of minutes may have ended.

        Raises:
            UserError: when another process has taken over.
        """
        if not self._is_ours(self.number):
            raise UserError(
                f"{self.folder}: another process took this over while this one stood still; "
                "it goes on there"
            )

    def beat(self) -> None:
        """Shows other processes that the owner is alive."""
        self.beats += 1
        with suppress(OSError, UserError):  # a full disk, an absent server: the next may succeed
            if not self._is_ours(self.number):
                _BEATING.discard(self)  # another process took over during a long sleep
                return
            self._write(os.open(self._path(self.number), os.O_WRONLY))

    def _create(self, number: int, dead: bytes | None) -> bool:
        """Creates a lock file and so takes the lock; False if the file exists.

        `dead` is the content of the previous lock file, whose owner was found dead.
        """
        with explain_os_errors(self.folder):
            with suppress(FileExistsError):  # also when it is removed in this moment
                self.folder.mkdir(parents=True, exist_ok=True)
            try:
                handle = os.open(self._path(number), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            except FileExistsError:
                return False
            except FileNotFoundError:  # the last owner has just removed the folder
                return self._create(number, dead)
            self.number, self.beats = number, 0
            try:
                self._write(handle)
            except OSError:
                self.release()
                raise
        if number > 1 and self._read(number - 1) != dead:
            # Released, and perhaps taken by another process, just before this one took over.
            self.number = 0
            self._path(number).unlink()
            return self._create(1, None)
        _BEATING.add(self)
        _start_beating()
        return True

    def _write(self, handle: int) -> None:
        try:
            os.pwrite(handle, line(this_process(), self.beats), 0)
            os.fsync(handle)
        finally:
            os.close(handle)

    def _path(self, number: int) -> Path:
        return self.folder / f"lock.{number}"

    def _read(self, number: int) -> bytes | None:
        try:
            return self._path(number).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UserError(f"{self._path(number)}: cannot be read ({error.strerror})") from error

    def _lives(self, number: int, content: bytes) -> bool:
        known = is_alive(content)
        if known is not None:
            return known
        before, since = self.seen.get(number, (None, 0.0))
        if content != before:
            self.seen[number] = (content, time.monotonic())
            return True
        return time.monotonic() - since < PATIENCE


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Holds a folder for this process.

    Raises:
        UserError: when another process holds it; the line names its host and process.
    """
    with claimed({"": Lock(folder)}) as others:
        if others:
            raise UserError(f"{folder}: held by {others['']}; wait for it or stop it first")
        yield


@contextmanager
def alone(folder: Path, waiting: str = "") -> Iterator[Lock]:
    """Holds a folder, after waiting until no other process holds it; logs `waiting` and who."""
    held = Lock(folder)
    owner = held.take()
    if owner and waiting:
        log.info("%s by %s; waiting", waiting, owner)
    while owner:
        time.sleep(0.1)
        owner = held.take()
    try:
        yield held
    finally:
        held.release()


@contextmanager
def claimed(locks: Mapping[str, Lock]) -> Iterator[dict[str, str]]:
    """Takes all free locks; yields the owner of each of the others, by key."""
    try:
        yield {key: owner for key, lock in locks.items() if (owner := lock.take())}
    finally:
        for held in locks.values():
            held.release()


_BEATING: set[Lock] = set()
_STARTED: set[int] = set()


def _start_beating() -> None:
    """One thread beats for all locks of this process."""
    if os.getpid() not in _STARTED:
        _STARTED.add(os.getpid())
        threading.Thread(target=_beat, daemon=True).start()


def _beat() -> None:
    while True:
        time.sleep(HEARTBEAT)
        for held in list(_BEATING):
            if held.number:
                held.beat()
