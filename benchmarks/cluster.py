"""What the paper's study costs the machine that submits it, on a real SLURM (as root, see
tests/slurm): the graph, submission, memory of snakemake, and what a job costs beside training.

Training is faked: `beft` is replaced by a command that writes what is expected of it and ends.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from beft.study.project import Project, load
from benchmarks import made_up
from benchmarks import measure as M
from benchmarks.material import ROOT

sys.path.insert(0, str(ROOT / "tests" / "slurm"))
import cluster as slurm

JOBS = 24  # that are really run
SLURM = ("--profile", "slurm")
FAKE = """#!/bin/sh
for last; do :; done
case $1 in train) mkdir -p "$(dirname "$last")" && echo '{}' > "$last" ;; esac
"""


def run(smoke: bool = False) -> list[dict]:
    """One row per case: case, seconds, count, per_second, memory_mb, note.

    Args:
        smoke: two jobs of the demo study without a cluster.
    """
    if smoke:
        with tempfile.TemporaryDirectory() as name:
            return [_execution(_faked(Path(name) / "project", "demo"), 2, "--cores", "2")]
    if reason := slurm.obstacle():
        return [{"case": "cluster", "note": f"not measured: {reason}"}]
    with tempfile.TemporaryDirectory() as name, slurm.cluster() as running:
        project = _faked(Path(name) / "project", "paper")
        rows = [_submission(project, running), _execution(project, JOBS, *SLURM)]
    M.save("cluster", rows)
    return rows


def _faked(folder: Path, study: str) -> Project:
    """The workflow in a folder, with nothing left to fetch and a command that fakes `beft`."""
    made_up.copy(folder)
    shutil.copytree(ROOT / "slurm", folder / "slurm")
    project = load(folder / "params.yaml", study)
    _fetched(project)
    (folder / "bin").mkdir()
    (folder / "bin" / "beft").write_text(FAKE)
    (folder / "bin" / "beft").chmod(0o755)
    # Rules call the `beft` beside the interpreter of Snakemake.
    (folder / "bin" / "python").symlink_to(sys.executable)
    return project


def _fetched(project: Project) -> None:
    """Empty files where data and models would be; nothing reads them."""
    data = project.layout.data
    names = [f"sources/{path}/source.json" for path in project.sources()]
    names += [f"subsets/{path}" for path in project.subsets]
    names += [f"models/{path}" for path in project.models()]
    for path in (data / name for name in names):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def _submission(project: Project, running: slurm.Cluster) -> dict:
    """All jobs of the study into a queue that starts none."""
    count = len(project.packs)
    running.ask("scontrol", "update", "PartitionName=main", "State=DOWN")
    started = time.perf_counter()
    master = _snakemake(project, "runs", "--jobs", "1000", *SLURM)
    first = None
    while (queued := len(running.jobs("pending"))) < count:
        if master.poll() is not None:
            raise RuntimeError((project.root / "log").read_text()[-2000:])
        if queued and first is None:
            first, before = time.perf_counter(), queued
        time.sleep(0.2)
    seconds = time.perf_counter() - first
    memory = _memory_mb(master.pid)
    master.send_signal(signal.SIGINT)
    master.wait()
    left = len(running.jobs("pending"))
    running.ask("scontrol", "update", "PartitionName=main", "State=UP")
    return {
        "case": "submission_paper",
        "seconds": round(time.perf_counter() - started, 1),
        "count": count,
        "per_second": round((count - before) / seconds, 1),
        "memory_mb": round(memory),
        "note": f"first job after {first - started:.1f} s; after Ctrl-C {left} jobs are left",
    }


def _execution(project: Project, jobs: int, *where: str) -> dict:
    """Some jobs of no work from beginning to end: what each costs beside training."""
    manifests = [f"data/packs/{key}" for key in list(project.packs)[:jobs]]
    before, started = _busy(), time.perf_counter()
    master = _snakemake(project, *manifests, *where)
    if master.wait():
        raise RuntimeError((project.root / "log").read_text()[-2000:])
    return {
        "case": "execution",
        "seconds": round(time.perf_counter() - started, 1),
        "count": jobs,
        "per_second": round(jobs / (time.perf_counter() - started), 2),
        "note": f"{(_busy() - before) / jobs:.1f} s of a core for each job",
    }


def _snakemake(project: Project, *arguments: str) -> subprocess.Popen:
    own = {
        "PATH": os.pathsep.join(
            [str(project.root / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
        ),
        "PYTHONPATH": os.pathsep.join([str(project.root), *filter(None, sys.path)]),
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.Popen(
        [
            project.root / "bin" / "python",
            "-m",
            "snakemake",
            *arguments,
            "--config",
            f"study={project.name}",
        ],
        cwd=project.root,
        env=os.environ | own,
        stdout=(project.root / "log").open("w"),
        stderr=subprocess.STDOUT,
    )


def _memory_mb(process: int) -> float:
    """The most that a process has had resident."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def _busy() -> float:
    """Seconds that all cores of the machine have worked."""
    values = [int(v) for v in Path("/proc/stat").read_text().split("\n")[0].split()[1:]]
    return sum(values[:3] + values[5:7]) / os.sysconf("SC_CLK_TCK")
