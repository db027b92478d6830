"""Run times and merged biases through the real workflow: made once, verified, pruned."""

import copy
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from support import sandbox

from beft.study.project import load

PLACE = {"model": "tiny", "regime": "low"}
STUDY = sandbox.STUDY | {
    "tasks": ["demo_sentiment", "demo_acceptability"],
    "techniques": ["b_v"],
    "selectors": [],
    "timing": [PLACE | {"task": "demo_sentiment", "techniques": ["b_v"], "repeats": 2}],
    "merging": [
        PLACE | {"tasks": ["demo_sentiment", "demo_acceptability"], "technique": "b_v"}
    ],
    "tables": ["table2", "table3"],
    "figures": [],
}  # fmt: skip


def params() -> dict:
    made = copy.deepcopy(sandbox.PARAMS)
    made["tasks"] = {t: made["tasks"]["demo_sentiment"] | {"epochs": 1} for t in STUDY["tasks"]}
    return made


def _finish(folder: Path) -> None:
    project = sandbox.make(folder / "project", params(), STUDY)
    done = sandbox.snakemake(project)
    (folder / "run.txt").write_text(done.stdout + done.stderr)


@pytest.fixture(scope="session")
def measured(tmp_path_factory, once: Callable) -> Path:
    """A finished project, not to be changed."""
    return once(tmp_path_factory, "measured", _finish)


@pytest.fixture
def project(measured, tmp_path) -> Path:
    return Path(shutil.copytree(measured / "project", tmp_path / "project"))


def test_measured_once_and_shown(project):
    made = load(project / "params.yaml")
    (timings,), (merges,) = made.timings, made.merges
    assert (project / "data" / "timings" / timings).is_file()
    assert (project / "data" / "merges" / merges).is_file()
    times = pd.read_csv(project / "reports" / "timings.csv")
    assert times["repeat"].tolist() == [1, 2] and (times["seconds"] > 0).all()
    assert set(pd.read_csv(project / "reports" / "merges.csv")["status"]) == {"ok"}
    for name in ("table2", "table3"):
        assert name in (project / "reports" / "index.html").read_text()
    assert "Nothing to be done" in sandbox.snakemake(project).stderr
    # another number of threads or cores is no reason to time anything again
    sandbox.change(project / "params.yaml", "execution", "threads", to=2)
    for cores in ("1", "2"):
        said = sandbox.run(project, "snakemake", "-n", "--cores", cores)
        assert "time" not in {rule for rule, _ in sandbox.jobs(said)}
    # nor is a seed more; what is merged has one more then
    sandbox.change(project / "studies" / "mini.yaml", "seeds", to=[0, 1])
    rules = {rule for rule, _ in sandbox.jobs(sandbox.snakemake(project, "-n"))}
    assert "merge" in rules and "time" not in rules


def test_time_has_the_machine_to_itself(project):
    """Its job takes all cores, whatever the threads it computes with."""
    sandbox.change(project / "params.yaml", "execution", "threads", to=2)
    dry = sandbox.run(
        project, "snakemake", "-n", "-p", "--cores", "3", "--forcerun", "time", "merge"
    ).stdout
    time, merge = (dry[dry.index(f"rule {name}:") :] for name in ("time", "merge"))
    assert "threads: 3" in time.partition("beft time")[0]
    assert "--threads 2" in time.partition("beft time")[2].partition("\n")[0]
    assert "threads: 2" in merge.partition("beft evaluate-merge")[0]


def test_verify_names_what_is_gone_or_forged_and_repair_makes_it_again(project):
    assert sandbox.run(project, "beft", "verify").returncode == 0
    (timings,) = (project / "data" / "timings").rglob("*.json")
    (merges,) = (project / "data" / "merges").rglob("*.json")
    kept = merges.read_bytes()
    timings.unlink()
    merges.write_text(merges.read_text().replace('"cosine": 0.', '"cosine": 0.1', 1))
    assert merges.read_bytes() != kept
    done = sandbox.run(project, "beft", "verify", check=False)
    assert done.returncode == 1
    assert f"{timings}: missing" in done.stderr
    assert f"{merges}: its angles are not those of its runs' biases" in done.stderr
    sandbox.run(project, "beft", "report")  # what is missing is shown as such
    assert "not timed" in (project / "reports" / "tables" / "table2.md").read_text()
    sandbox.run(project, "beft", "verify", "--repair")
    rules = {rule for rule, _ in sandbox.jobs(sandbox.snakemake(project, "-n"))}
    assert {"time", "merge"} <= rules and "train" not in rules
    sandbox.run(project, "beft", "evaluate-merge", str(merges))
    assert merges.read_bytes() == kept


def test_prune_knows_both(project):
    sandbox.change(project / "studies" / "mini.yaml", "timing", to=[])
    sandbox.change(project / "studies" / "mini.yaml", "merging", to=[])
    before = {
        p for name in ("timings", "merges") for p in (project / "data" / name).rglob("*.json")
    }
    assert len(before) == 2
    sandbox.run(project, "beft", "prune", "--yes")
    assert not any(path.exists() for path in before)
    assert not list((project / "logs" / "time").rglob("*.log"))
    assert list((project / "data" / "runs").rglob("metrics.json"))
