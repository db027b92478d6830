"""`beft recover`: after snakemake died, end or adopt what it left running, unlock, go on.

No other module depends on Snakemake or SLURM.
"""

import base64
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from beft.errors import UserError, one_line
from beft.store.manifest import read_manifest
from beft.store.owners import living
from beft.study.layout import Layout

JOB_NAME = "beft_"  # `slurm-jobname-prefix` of slurm/profile.yaml, and what the executor adds
LOOK = 2.0  # seconds between two looks
PATIENCE = 900.0  # seconds that a job or process may take to end


def recover(root: Path, adopt: bool, say: Callable[[str], None]) -> None:
    """Leaves a project as if snakemake had ended properly.

    Args:
        adopt: wait for jobs and processes that still train, instead of ending them. Those that
            are ended write a checkpoint first, from which later ones continue.
        say: called with each message about the progress.

    Raises:
        UserError: when snakemake is alive here, SLURM does not answer, or something does not end.
    """
    if alive := snakemakes(root):
        raise UserError(
            f"snakemake is running in {root} (process {alive[0]}); stop it with Ctrl-C or "
            f"'kill {alive[0]}', which ends its jobs properly, and there is nothing to recover"
        )
    _until_gone("job", lambda: jobs(root), _cancel, adopt, say)
    _until_gone("process", lambda: trainers(root), _terminate, adopt, say)
    # What a job that ended, or was started again, has left: it makes nothing any more.
    left = partial(snakemakes, root, in_jobs=True)
    _until_gone("process", lambda: [str(number) for number in left()], _terminate, False, say)
    finished = finished_manifests(root)
    _snakemake(root, "--unlock")
    if finished:
        say(f"{len(finished)} packs were finished by jobs that nobody waited for")
        _snakemake(root, "--cleanup-metadata", *finished)
    say("unlocked; nothing of this project is running")


def snakemakes(root: Path, in_jobs: bool = False) -> list[int]:
    """Processes of snakemake on this machine that run in this folder, outside or inside of jobs."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (folder / "cmdline").read_bytes().split(b"\0")
            is_snakemake = any(Path(os.fsdecode(w)).name == "snakemake" for w in words[:3])
            in_job = b"--mode" in words  # the option of a snakemake inside a job
            if is_snakemake and in_job == in_jobs and (folder / "cwd").resolve() == root:
                found.append(int(folder.name))
    return sorted(found)


def jobs(root: Path) -> list[str]:
    """Jobs of this folder that wait or run in SLURM; empty if there is no SLURM.

    Raises:
        UserError: when SLURM does not answer.
    """
    if shutil.which("squeue") is None:
        return []
    lines = _slurm("squeue", "--me", "--noheader", "--format=%i|%j|%Z").splitlines()
    rows = [line.split("|", 2) for line in lines]
    return [
        number
        for number, name, folder in rows
        if name.startswith(JOB_NAME) and Path(folder).resolve() == root
    ]


def trainers(root: Path) -> list[str]:
    """Processes on this machine that train runs of this folder, but not in a job of SLURM."""
    found = []
    owners = living(Layout(root).folder("work"))
    for process in sorted({owner.process for owner in owners if not owner.job}):
        with suppress(OSError):  # a process of another clone may share the data
            if Path(f"/proc/{process}/cwd").resolve() == root:
                found.append(str(process))
    return found


def finished_manifests(root: Path) -> list[str]:
    """Complete manifests that snakemake takes for incomplete.

    The names of snakemake's markers are not documented. If they change, the jobs of these packs
    run again, find their runs, and end.
    """
    found = []
    for marker in (root / ".snakemake" / "incomplete").glob("**/*"):
        with suppress(ValueError, UserError, OSError):
            name = base64.urlsafe_b64decode(marker.name).decode()
            if name.startswith("data/packs/") and read_manifest(root / name):
                found.append(name)
    return sorted(found)


def _until_gone(
    kind: str,
    find: Callable[[], list[str]],
    end: Callable[[list[str]], None],
    adopt: bool,
    say: Callable[[str], None],
) -> None:
    left = find()
    if not left:
        return
    names = f"{len(left)} {kind}{'' if len(left) == 1 else 'es' if kind == 'process' else 's'}"
    if adopt:
        say(f"waiting for {names} to finish: {' '.join(left)}")
    else:
        say(f"ending {names}, which write a checkpoint first: {' '.join(left)}")
        end(left)
    began = told = time.monotonic()
    while left := find():
        now = time.monotonic()
        if not adopt and now - began > PATIENCE:
            raise UserError(f"{kind} {left[0]} does not end; end it by hand, then recover again")
        if now - told > 60:
            told = now
            say(f"still there after {(now - began) / 60:.0f} minutes: {' '.join(left)}")
        time.sleep(LOOK)


def _cancel(numbers: list[str]) -> None:
    _slurm("scancel", *numbers)


def _terminate(numbers: list[str]) -> None:
    for number in numbers:
        with suppress(ProcessLookupError):
            os.kill(int(number), signal.SIGTERM)


def _slurm(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    except subprocess.TimeoutExpired:
        raise UserError(f"{command[0]} does not answer; is SLURM's controller up?") from None
    except subprocess.CalledProcessError as error:
        raise UserError(f"{command[0]} failed: {one_line(error.stderr)}") from None
    return done.stdout


def _snakemake(root: Path, *arguments: str) -> None:
    command = [snakemake_program(), *arguments]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UserError(f"snakemake {arguments[0]} failed: {reason}")


def snakemake_program() -> str:
    """The snakemake beside this interpreter, whether or not its environment is activated.

    Raises:
        UserError: it is not installed.
    """
    beside = Path(sys.executable).with_name("snakemake")
    found = str(beside) if beside.is_file() else shutil.which("snakemake")
    if found is None:
        raise UserError("snakemake is not installed: pip install '.[pipeline]'")
    return found
