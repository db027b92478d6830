"""A real SLURM for the tests that ask for it, and projects to run on it."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from safetensors import safe_open
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
# The same runs in `mini` as one job, and with others, each in a job of its own.
FOUR = STUDY | {
    "techniques": ["b_v", "b_q", "b_attention_output", "b_output"],
    "fuse_techniques": False,
}
# Between two questions to the queue the executor waits 10 seconds longer each time, up to minutes.
ASKS_OFTEN = """
Executor.next_seconds_between_status_checks = property(lambda self: 0.5, lambda self, value: None)
"""
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

    def __post_init__(self) -> None:
        with (self.folder / "workflow" / "rules" / "slurm.smk").open("a") as file:
            file.write(ASKS_OFTEN)

    def start(self, *command: str, study: str = "mini", real: bool = True) -> None:
        """`snakemake --profile slurm`, quick to notice what becomes of its jobs.

        Args:
            real: Programs are new processes, as those that signals are sent to must be.
        """
        usual = ("snakemake", "--profile", "slurm", "--config", f"study={study}", *QUICK)
        self.master = subprocess.Popen(
            command or usual,
            cwd=self.folder,
            env=(sandbox.variables if real else sandbox.warm)(self.folder),
            stdout=(self.folder / "log").open("a"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def training(self, pack: str = "") -> str:
        """What all attempts at training said, or those of one pack."""
        logs = sorted((self.folder / "logs" / "slurm").glob(f"**/*{Path(pack).stem}*/*.log"))
        return "".join(path.read_text() for path in logs)

    def until(self, what: str, condition: Callable[[], object], seconds: float = 180) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.master.poll() is None, self.log()
            assert time.monotonic() < deadline, f"waited for {what}\n{self.log()}"
            time.sleep(0.05)

    def until_training(self) -> str:
        """Until a run is well under way; returns its job."""
        self.until("a checkpoint", self.begun)
        (job,) = self.cluster.jobs("running")
        return job

    def begun(self) -> set[str]:
        """The digests of the runs that have a checkpoint."""
        found = set()
        for path in self.folder.glob("data/work/*/checkpoint.safetensors"):
            with suppress(FileNotFoundError), safe_open(path, "np") as file:
                found |= {*file.metadata()["digests"].split()}
        return found

    def jobs_of(self, pack: str) -> list[str]:
        """The numbers of all jobs of a pack, in the order of its attempts."""
        digest = Path(pack).stem
        return [n for n in self.cluster_jobs() if digest in self.cluster.show(n)["StdOut"]]

    def cluster_jobs(self) -> list[str]:
        """The numbers of all jobs of this project, also of those that have ended, ascending."""
        numbers = sorted(self.cluster.jobs(), key=int)
        return [n for n in numbers if self.cluster.show(n)["WorkDir"] == str(self.folder)]

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
    sandbox.write(folder / "studies" / "four.yaml", FOUR)
    sandbox.snakemake(folder, "data")
    sandbox.run(folder, "beft", "fetch", "--model", "tiny")
    return folder


@pytest.fixture(scope="session")
def four_undisturbed(fetched, tmp_path_factory) -> dict[str, bytes]:
    """What the runs of the study `four` hold when nothing happens to them."""
    folder = Path(shutil.copytree(fetched, tmp_path_factory.mktemp("undisturbed") / "project"))
    train = ("train", "--study", "four", "--device", "cpu")
    for key in load(folder / "params.yaml", "four").packs:
        done = sandbox.beft(folder, *train, f"data/packs/{key}")
        assert done.status == 0, done.said
    return Site(folder, None).results()


@pytest.fixture(scope="session")
def undisturbed(four_undisturbed) -> dict[str, bytes]:
    """What the only run of the study `mini` holds, which `four` has as well."""
    return {path: content for path, content in four_undisturbed.items() if "/b_v/" in path}


@pytest.fixture
def site(cluster, fetched, tmp_path) -> Iterator[Site]:
    """The project, copied, on the cluster."""
    made = Site(Path(shutil.copytree(fetched, tmp_path / "project")), cluster)
    yield made
    made.close()
