"""Who holds a lock: a process with a name, and whether it lives, as far as that can be seen."""

import json
import os
import platform
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Owner:
    """Who holds a lock."""

    host: str
    process: int
    place: str  # the running system that process numbers belong to; empty when unknown
    birth: str  # when the process began, since numbers are used again
    job: str  # the SLURM job, or empty

    def __str__(self) -> str:
        job = f" (SLURM job {self.job})" if self.job else ""
        return f"process {self.process} on {self.host}{job}"


def living(folder: Path) -> list[Owner]:
    """Owners of locks in the folders below, of which it can be seen from here that they live."""
    found = []
    for path in sorted(folder.glob("*/lock.*")):
        with suppress(FileNotFoundError):
            content = path.read_bytes()
            if is_alive(content) and (owner := parse(content)):
                found.append(owner)
    return found


def last_owner(folder: Path) -> str:
    """Who holds a lock, or held it when it died; empty where nobody does."""
    files = list(folder.glob("lock.*"))
    if not files:
        return ""
    last = max(files, key=lambda path: int(path.suffix[1:]))
    with suppress(FileNotFoundError):
        return str(parse(last.read_bytes()) or "another process")
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


def line(owner: Owner, beats: int) -> bytes:
    return json.dumps({**asdict(owner), "beats": f"{beats:09d}"}).encode()


def parse(content: bytes) -> Owner | None:
    """The owner that a file names; None when it was not written whole."""
    try:
        said = json.loads(content)
        return Owner(**{key: said[key] for key in Owner.__dataclass_fields__})
    except (ValueError, TypeError, KeyError):
        return None


def is_alive(content: bytes) -> bool | None:
    """Whether the owner lives; None when that cannot be seen from here."""
    owner = parse(content)
    if owner is None or not owner.place or owner.place != own().place:
        return None
    birth = _birth(owner.process)
    return None if not birth and _hidden(owner.process) else birth == owner.birth
