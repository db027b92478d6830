"""A real SLURM for the tests that ask for it, and projects to run on it."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import sandbox

from beft.study.project import load

sys.path.insert(0, str(Path(__file__).parent))
import cluster as slurm

# Training takes long enough to be disturbed, and a checkpoint is written after every step.
PARAMS = json.loads(json.dumps(sandbox.PARAMS))
PARAMS["execution"] = {"memory_mb": 2000, "runtime_minutes": 20, "checkpoint_seconds": 0}
PARAMS["tasks"]["demo_sentiment"] |= {"epochs": 80, "learning_rate": 1e-3}
STUDY = sandbox.STUDY | {
    "techniques": ["b_v"],
    "selectors": [],
    "figures": [],
    "tables": ["table1"],
}
QUICK = ("--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "5")
OWN = {"provenance.json", "checksums.json"}  # when, where and how: differs from run to run


@pytest.fixture(scope="session")
def running() -> Iterator[slurm.Cluster]:
    """The cluster; a test that asks for it is skipped where there can be none."""
    if reason := slurm.obstacle():
        pytest.skip(reason)
    with slurm.cluster() as made:
        yield made


@pytest.fixture
def cluster(running) -> Iterator[slurm.Cluster]:
    """The cluster, idle before and after."""
    yield running
    running.cancel_all()
    slurm.wait("the nodes", lambda: running.idle() == set(slurm.NODES))


@dataclass
class Site:
    """A project on the cluster."""

    folder: Path
    cluster: slurm.Cluster
    master: subprocess.Popen | None = None

    def start(self, *command: str) -> None:
        """`snakemake --profile slurm`, quick to notice what becomes of its jobs."""
        usual = ("snakemake", "--profile", "slurm", "--config", "study=mini", *QUICK)
        self.master = subprocess.Popen(
            command or usual,
            cwd=self.folder,
            env=sandbox.variables(self.folder),
            stdout=(self.folder / "log").open("a"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def training(self) -> str:
        """What all attempts at training said."""
        logs = sorted((self.folder / "logs" / "slurm").glob("**/*.log"))
        return "".join(path.read_text() for path in logs)

    def until(self, what: str, condition: Callable[[], object], seconds: float = 180) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.master.poll() is None, self.log()
            assert time.monotonic() < deadline, f"waited for {what}\n{self.log()}"
            time.sleep(0.05)

    def until_training(self) -> str:
        """Until a run is well under way; returns its job."""
        work = self.folder / "data" / "work"
        self.until("a checkpoint", lambda: list(work.glob("*/checkpoint.safetensors")))
        (job,) = self.cluster.jobs("running")
        return job

    def cluster_jobs(self) -> list[str]:
        """The numbers of all jobs of this project, also of those that have ended."""
        return [
            n for n in self.cluster.jobs() if self.cluster.show(n)["WorkDir"] == str(self.folder)
        ]

    def finish(self, seconds: float = 300) -> None:
        """The end of the workflow, a good one."""
        assert self.master.wait(timeout=seconds) == 0, self.log() + self.training()

    def results(self) -> dict[str, bytes]:
        """Every file of every run that follows from its recipe."""
        found = sandbox.contents(self.folder / "data" / "runs")
        return {path: content for path, content in found.items() if Path(path).name not in OWN}

    def close(self) -> None:
        if self.master and self.master.poll() is None:
            self.master.kill()
            self.master.wait()


@pytest.fixture(scope="session")
def fetched(tmp_path_factory) -> Path:
    """A project with its data, nothing trained."""
    folder = sandbox.make(tmp_path_factory.mktemp("fetched") / "project", PARAMS, STUDY)
    sandbox.snakemake(folder, "data")
    sandbox.run(folder, "beft", "fetch", "--model", "tiny")
    return folder


@pytest.fixture(scope="session")
def undisturbed(fetched, tmp_path_factory) -> dict[str, bytes]:
    """What the study's runs hold when nothing happens to them."""
    folder = Path(shutil.copytree(fetched, tmp_path_factory.mktemp("undisturbed") / "project"))
    for key in load(folder / "params.yaml").packs:
        sandbox.run(folder, "beft", "train", "--device", "cpu", f"data/packs/{key}")
    return Site(folder, None).results()


@pytest.fixture
def site(cluster, fetched, tmp_path) -> Iterator[Site]:
    """The project, copied, on the cluster."""
    made = Site(Path(shutil.copytree(fetched, tmp_path / "project")), cluster)
    yield made
    made.close()
