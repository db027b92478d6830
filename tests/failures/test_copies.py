"""Copies elsewhere, and clocks that go wrong: nothing is trained again, nothing stale accepted."""

import os
import shutil
import time
from pathlib import Path

import pytest
from support import sandbox
from support.whole import STUDY, differences, made

DAY = 86400
INPUTS = {"fetch", "fetch_model", "subsample", "train"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A finished project of a dataset of its own."""
    folder = made(tmp_path_factory.mktemp("finished") / "project")
    lines = [f"the film is {('bad', 'good')[i % 2]} {i},{i % 2}" for i in range(40)]
    for split in ("train", "validation"):
        path = folder / "mine" / f"{split}.csv"
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(["sentence,label", *lines]) + "\n")
    task = {"path": "mine", "text": ["sentence"], "labels": ["negative", "positive"]}
    task |= {"metric": "accuracy", "regimes": {"low": 16}, "learning_rate": 1e-2, "epochs": 2}
    sandbox.change(folder / "params.yaml", "tasks", "mine", to=task)
    sandbox.write(folder / "studies" / "mini.yaml", STUDY | {"tasks": ["mine"]})
    sandbox.snakemake(folder)
    return folder


def copied(finished: Path, folder: Path, how: str) -> Path:
    """As `cp -r` or rsync without times copies: every file is as old as its copying."""
    ignored = shutil.ignore_patterns(*([".snakemake"] if how == "data alone" else []))
    shutil.copytree(finished, folder, copy_function=shutil.copyfile, ignore=ignored)
    return folder


def aged(finished: Path, folder: Path, seconds: float) -> Path:
    """As where the clock was set: every file of data/ is older or newer than it is."""
    shutil.copytree(finished, folder)
    moment = time.time() + seconds
    for path in (folder / "data").rglob("*"):
        os.utime(path, (moment, moment))
    return folder


CASES = {
    "copied": lambda one, two: copied(one, two, "all"),
    "copied without the records of snakemake": lambda one, two: copied(one, two, "data alone"),
    "a day older": lambda one, two: aged(one, two, -DAY),
    "a day newer, or the clock set back": lambda one, two: aged(one, two, DAY),
}


@pytest.mark.parametrize("case", CASES)
def test_nothing_is_trained_again_and_what_changed_is_noticed(finished, tmp_path, case):
    project = CASES[case](finished, tmp_path / "elsewhere")
    runs = sandbox.marks(project / "data" / "runs")
    rules = {rule for rule, _ in sandbox.jobs(sandbox.snakemake(project))}
    assert not rules & INPUTS
    assert differences(project, finished) == []
    assert sandbox.beft(project, "verify").status == 0
    # another label in the data: other sources, and all that is made from them
    path = project / "mine" / "train.csv"
    path.write_text(path.read_text().replace("bad 0,0", "bad 0,1"))
    os.utime(path, (1, 1))  # its time says that it is older than everything
    if "newer" in case:
        refused_until_the_times_are_right(project)
    else:
        rules = {rule for rule, _ in sandbox.jobs(sandbox.snakemake(project))}
        assert {"fetch", "subsample", "train", "collect"} <= rules
    assert sandbox.beft(project, "verify").status == 0
    new = sandbox.marks(project / "data" / "runs")
    assert {name: new[name][0] for name in runs} == {name: runs[name][0] for name in runs}
    assert len(new) == 2 * len(runs)
    sandbox.change(project / "params.yaml", "tasks", "mine", "learning_rate", to=0.03)
    assert len(sandbox.trained(sandbox.snakemake(project, "-n"))) == 1


def refused_until_the_times_are_right(project: Path) -> None:
    """Snakemake takes no output that is older than its inputs; what was trained stays."""
    done = sandbox.snakemake(project, check=False)
    assert done.returncode != 0 and "clock skew" in done.stderr
    trained = sandbox.marks(project / "data" / "runs")
    for path in (project / "data").rglob("*"):
        os.utime(path)
    sandbox.snakemake(project)
    now = sandbox.marks(project / "data" / "runs")
    assert {name: inode for name, (inode, _) in now.items()} == {
        name: inode for name, (inode, _) in trained.items()
    }
