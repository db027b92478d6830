"""Name the process that holds a lock, and tell whether it is alive, where this can be seen."""

import json
import os
import platform
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Owner:
    """The process that holds a lock."""

    host: str
    process: int
    place: str  # boot and namespace in which `process` is valid; empty when unknown
    birth: str  # start of the process, in ticks; process numbers are used again
    job: str  # the SLURM job, or empty

    def __str__(self) -> str:
        job = f" (SLURM job {self.job})" if self.job else ""
        return f"process {self.process} on {self.host}{job}"


def living(folder: Path) -> list[Owner]:
    """The owners of locks in the folders of this folder that are known to be alive."""
    found = []
    for path in sorted(folder.glob("*/lock.*")):
        with suppress(FileNotFoundError):
            content = path.read_bytes()
            if is_alive(content) and (owner := parse(content)):
                found.append(owner)
    return found


def last_owner(folder: Path) -> str:
    """Names the process that holds a lock, or held it when it died; empty if there is no lock."""
    files = list(folder.glob("lock.*"))
    if not files:
        return ""
    last = max(files, key=lambda path: int(path.suffix[1:]))
    with suppress(FileNotFoundError):
        return str(parse(last.read_bytes()) or "another process")
    return ""


@cache
def this_process() -> Owner:
    """This process as the owner of a lock."""
    birth = _birth(os.getpid())
    place = ""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        place = f"{boot} {Path('/proc/self/ns/pid').readlink()}" if birth else ""
    job = os.environ.get("SLURM_JOB_ID", "")
    return Owner(platform.node(), os.getpid(), place, birth, job)


os.register_at_fork(after_in_child=this_process.cache_clear)


def _birth(process: int) -> str:
    """The start of a process in ticks since the boot; empty if it is dead or unknown."""
    with suppress(OSError, IndexError):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]
    return ""


def _hidden(process: int) -> bool:
    """Whether a process exists, but /proc hides it because it belongs to another user."""
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
    """The content of a lock file: its owner, and the number of heartbeats so far."""
    return json.dumps({**asdict(owner), "beats": f"{beats:09d}"}).encode()


def parse(content: bytes) -> Owner | None:
    """The owner that a lock file names; None if the file is incomplete."""
    try:
        found = json.loads(content)
        return Owner(**{key: found[key] for key in Owner.__dataclass_fields__})
    except (ValueError, TypeError, KeyError):
        return None


def is_alive(content: bytes) -> bool | None:
    """Whether the owner of a lock file is alive; None if it runs where this cannot be seen."""
    owner = parse(content)
    if owner is None or not owner.place or owner.place != this_process().place:
        return None
    birth = _birth(owner.process)
    return None if not birth and _hidden(owner.process) else birth == owner.birth
