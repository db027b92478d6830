"""Locks that hold on shared file systems: an owner with a name, known to live by its heartbeat.

A lock is the file `lock.1` in a folder, created exclusively (which network file systems do right,
unlike `flock`). Its owner rewrites a counter in it every few seconds. Who finds the counter still
for a minute, or the owner dead on the same machine, takes over by creating `lock.2`, and so on: one
of many wins, nothing is deleted that another may hold, and clocks do not matter.
"""

import json
import os
import platform
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from beft.errors import UserError
from beft.store import explain_os_errors

HEARTBEAT = 5.0  # seconds between two beats
PATIENCE = 60.0  # seconds without a beat after which an owner on another machine counts as dead


@dataclass(frozen=True)
class Owner:
    """Who holds a lock.

    Attributes:
        place: the running system that process numbers belong to; empty when unknown.
        birth: when the process began, since numbers are used again.
        job: the SLURM job, or empty.
    """

    host: str
    process: int
    place: str
    birth: str
    job: str

    def __str__(self) -> str:
        job = f" (SLURM job {self.job})" if self.job else ""
        return f"process {self.process} on {self.host}{job}"


class Lock:
    """One folder, held or not; use `take` and `release`, or `lock`."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.number = 0  # of the file that is ours; 0 while it is not
        self.seen: dict[int, tuple[bytes, float]] = {}  # others' files: content, since when

    def take(self) -> str | None:
        """Tries to become the owner.

        Returns:
            None when this process is the owner now; otherwise who is.

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
                return str(_parse(content) or "another process")
            else:
                number += 1
        return None

    def release(self) -> None:
        """Gives the folder back; one that is empty then is removed."""
        number, self.number = self.number, 0
        _BEATING.discard(self)
        if number and self._is_ours(number):
            for earlier in range(1, number + 1):  # ours last: nobody gets in before
                with suppress(OSError):
                    self._path(earlier).unlink()
            with suppress(OSError):
                self.folder.rmdir()

    def _is_ours(self, number: int) -> bool:
        """Whether nobody has taken over, nor cleared the folder away and begun anew."""
        content = self._read(number)
        mine = content is not None and _parse(content) == own()
        return mine and not self._path(number + 1).exists()

    def check(self) -> None:
        """Asks whether the lock is still ours, as it may not be after a pause of minutes.

        Raises:
            UserError: when another process has taken over.
        """
        if not self._is_ours(self.number):
            raise UserError(
                f"{self.folder}: another process took this over while this one stood still; "
                "it goes on there"
            )

    def beat(self) -> None:
        """Says that the owner lives."""
        self.beats += 1
        with suppress(OSError, UserError):  # a full disk, an absent server: the next may succeed
            if not self._is_ours(self.number):
                _BEATING.discard(self)  # after a long sleep: it is another's now
                return
            self._write(os.open(self._path(self.number), os.O_WRONLY))

    def _create(self, number: int, dead: bytes | None) -> bool:
        """Makes the file ours, unless it is there.

        Args:
            dead: the content of the file before it, whose owner was found dead.
        """
        with explain_os_errors(self.folder):
            with suppress(FileExistsError):  # also when it is removed in this moment
                self.folder.mkdir(parents=True, exist_ok=True)
            try:
                handle = os.open(self._path(number), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            except FileExistsError:
                return False
            except FileNotFoundError:  # who had it has just removed the folder
                return self._create(number, dead)
            self.number, self.beats = number, 0
            try:
                self._write(handle)
            except OSError:
                self.release()
                raise
        if number > 1 and self._read(number - 1) != dead:
            # Given back, and perhaps taken by another, while we were about to take over.
            self.number = 0
            self._path(number).unlink()
            return self._create(1, None)
        _BEATING.add(self)
        _start_beating()
        return True

    def _write(self, handle: int) -> None:
        try:
            os.pwrite(handle, _line(own(), self.beats), 0)
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
        known = _is_alive(content)
        if known is not None:
            return known
        before, since = self.seen.get(number, (None, 0.0))
        if content != before:
            self.seen[number] = (content, time.monotonic())
            return True
        return time.monotonic() - since < PATIENCE


@contextmanager
def lock(folder: Path) -> Iterator[Lock]:
    """Holds a folder for this process.

    Raises:
        UserError: when another process holds it; the line names its host and process.
    """
    held = Lock(folder)
    if owner := held.take():
        raise UserError(f"{folder}: held by {owner}; wait for it or stop it first")
    try:
        yield held
    finally:
        held.release()


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Holds a folder for a short piece of work; whoever else is at it is waited for."""
    held = Lock(folder)
    while held.take():
        time.sleep(0.2)
    try:
        yield
    finally:
        held.release()


@contextmanager
def claimed(locks: Mapping[str, Lock]) -> Iterator[dict[str, str]]:
    """Holds as many as can be had; yields who holds each of the others, by key."""
    try:
        yield {key: owner for key, lock in locks.items() if (owner := lock.take())}
    finally:
        for held in locks.values():
            held.release()


def living(folder: Path) -> list[Owner]:
    """Owners of locks in the folders below, of which it can be seen from here that they live."""
    found = []
    for path in sorted(folder.glob("*/lock.*")):
        with suppress(FileNotFoundError):
            content = path.read_bytes()
            if _is_alive(content) and (owner := _parse(content)):
                found.append(owner)
    return found


def last_owner(folder: Path) -> str:
    """Who holds a lock, or held it when it died; empty where nobody does."""
    files = list(folder.glob("lock.*"))
    if not files:
        return ""
    last = max(files, key=lambda path: int(path.suffix[1:]))
    with suppress(FileNotFoundError):
        return str(_parse(last.read_bytes()) or "another process")
    return ""


@cache
def own() -> Owner:
    """This process."""
    birth = _birth(os.getpid())
    place = ""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        place = f"{boot} {Path('/proc/self/ns/pid').readlink()}" if birth else ""
    job = os.environ.get("SLURM_JOB_ID", "")
    return Owner(platform.node(), os.getpid(), place, birth, job)


os.register_at_fork(after_in_child=own.cache_clear)


def _birth(process: int) -> str:
    """When a process began, in ticks of its system; empty when it is dead or unknown."""
    with suppress(OSError, IndexError):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]
    return ""


def _hidden(process: int) -> bool:
    """Whether it exists but nothing may be seen of it, as where /proc hides other users'."""
    if Path(f"/proc/{process}/stat").exists():
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _line(owner: Owner, beats: int) -> bytes:
    return json.dumps({**asdict(owner), "beats": f"{beats:09d}"}).encode()


def _parse(content: bytes) -> Owner | None:
    """The owner that a file names; None when it was not written whole."""
    try:
        said = json.loads(content)
        return Owner(**{key: said[key] for key in Owner.__dataclass_fields__})
    except (ValueError, TypeError, KeyError):
        return None


def _is_alive(content: bytes) -> bool | None:
    """Whether the owner lives; None when that cannot be seen from here."""
    owner = _parse(content)
    if owner is None or not owner.place or owner.place != own().place:
        return None
    birth = _birth(owner.process)
    return None if not birth and _hidden(owner.process) else birth == owner.birth


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
