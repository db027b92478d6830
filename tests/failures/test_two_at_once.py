"""Two studies on one store at the same time: each run is trained once, and both get it."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
from support import sandbox
from support.forked import Call

from beft.store.files import all_flaws
from beft.study.project import Project, load

LONG = json.loads(json.dumps(sandbox.PARAMS))
LONG["tasks"]["demo_sentiment"] |= {"epochs": 60, "learning_rate": 1e-3}
OWN = sandbox.STUDY | {"techniques": ["b_v", "b_q"], "selectors": [], "tables": [], "figures": []}


@pytest.fixture
def folder(tmp_path) -> Path:
    """A store that another user's clone shares: studies `mini` there, `theirs` in the clone."""
    one = sandbox.make(tmp_path / "one", LONG, OWN)
    two = sandbox.make(tmp_path / "two", LONG, OWN)
    (two / "data").symlink_to(one / "data")
    sandbox.write(
        two / "studies" / "theirs.yaml", OWN | {"techniques": ["b_q", "b_attention_output"]}
    )
    for each, study in ((one, "mini"), (two, "theirs")):
        sandbox.run(each, "beft", "fetch", "--study", study)
        for subset in project(each, study).subsets:
            sandbox.run(each, "beft", "subsample", "--study", study, f"data/subsets/{subset}")
    return tmp_path


def project(folder: Path, study: str) -> Project:
    return load(folder / "params.yaml", study)


def start(folder: Path, study: str) -> Call:
    (key,) = project(folder, study).packs
    train = ["beft", "train", "--study", study, "--checkpoint-seconds", "0", f"data/packs/{key}"]
    return Call(train, folder, sandbox.variables(folder))


def until(condition, call: Call) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert not call.ended(), call.said()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def facts(folder: Path, technique: str) -> dict:
    (path,) = (folder / "one" / "data" / "runs").glob(f"*/*/*/{technique}/*/*/provenance.json")
    return json.loads(path.read_text())


@pytest.mark.parametrize("fate", ["ends", "is killed"])
def test_the_second_waits_for_what_the_first_trains(folder, fate):
    one, two = folder / "one", folder / "two"
    first = start(one, "mini")
    until(lambda: list(one.glob("data/work/*/checkpoint.safetensors")), first)
    os.kill(first.pid, signal.SIGSTOP)  # so that it takes its time
    second = start(two, "theirs")
    who = f"waiting for process {first.pid} on {os.uname().nodename}"
    until(lambda: who in second.said(), second)
    # what nobody else trains it has trained meanwhile
    assert "--study theirs" in facts(folder, "b_attention_output")["command"]
    if fate != "ends":
        os.kill(first.pid, signal.SIGKILL)
    os.kill(first.pid, signal.SIGCONT)
    for call, status in ((first, 0 if fate == "ends" else -9), (second, 0)):
        done = call.wait()
        assert done.status == status, done.said
    study = "mini" if fate == "ends" else "theirs"
    assert f"--study {study}" in facts(folder, "b_q")["command"]
    before = sandbox.marks(one / "data" / "runs")
    done = start(one, "mini").wait()
    assert done.status == 0, done.said
    after = sandbox.marks(one / "data" / "runs")
    assert {path: after[path] for path in before} == before
    for study, at in (("mini", "one"), ("theirs", "two")):
        done = sandbox.run(folder / at, "beft", "plan", "--study", study)
        assert "to run: 0 of 2" in done.stdout
    assert not list((folder / "one" / "data" / "work").glob("*"))


def test_two_reports_at_once_are_written_one_after_the_other(folder):
    """Of two studies in one clone: what is there afterwards is whole, and of one of them."""
    one = folder / "one"
    sandbox.write(one / "studies" / "other.yaml", OWN | {"tables": ["table1", "selection"]})
    command = ["beft", "report", "--study"]
    variables = sandbox.variables(one)
    calls = [Call([*command, name], one, variables) for name in ("mini", "other") * 2]
    for call in calls:
        done = call.wait()
        assert done.status == 0, done.said
    assert all_flaws(one / "reports") == []
    study = json.loads((one / "reports" / "settings.json").read_text())["tables"]
    assert {path.stem for path in (one / "reports" / "tables").iterdir()} == {*study}
