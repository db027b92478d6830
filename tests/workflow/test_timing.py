"""Timing: who is timed when, by which process, and that it leaves no trace. No test of seconds."""

import json
import math
import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path

import psutil
import pytest
from support import sandbox
from support.forked import Call
from support.trained import everything

from beft.errors import UserError
from beft.store.files import read_json
from beft.store.measurement_files import timing_flaw
from beft.study.layout import Layout
from beft.study.project import Project, load
from beft.training import timing

ENTRY = {"model": "tiny", "task": "demo_sentiment", "regime": "low"}
ENTRY |= {"techniques": ["b_v", "full"], "repeats": 2}
STUDY = sandbox.STUDY | {
    "techniques": ["b_v", "full", "random_uniform"],
    "selectors": [],
    "timing": [ENTRY],
}


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    """Its data is there, and its runs are."""
    folder = tmp_path_factory.mktemp("timing") / "project"
    sandbox.make(folder, study=STUDY)
    return everything(folder)


def test_techniques_take_turns_and_each_run_has_its_process(project):
    (timed,) = project.timings.values()
    before, told = sandbox.marks(project.layout.data), []
    content = timing.render_timings(project.layout, timed, progress=lambda *a: told.append(a))
    assert sandbox.marks(project.layout.data) == before
    runs = json.loads(content)["runs"]
    digests = [recipe.digest for recipe in timed.recipes]
    assert [(r["repeat"], r["digest"]) for r in runs] == [(n, d) for n in (1, 2) for d in digests]
    assert [done for done, total, _ in told] == [0, 1, 2, 3] and told[0][1] == 4
    assert told[2][2] == "b_v, repeat 2 of 2"
    for run in runs:
        assert 0 < run["train_seconds"] < run["seconds"]
        assert (run["status"], run["device"], run["threads"]) == ("ok", "cpu", 1)
    path = project.root / "timings.json"
    path.write_bytes(content)
    assert timing_flaw(path, timed) is None
    path.unlink()


@pytest.mark.parametrize("technique", ["b_v", "full", "random_uniform"])
def test_what_is_timed_is_the_run_itself(project, technique):
    """Its warm-up leaves no trace: the metric is that of the run that the study has."""
    recipe = next(r for r in project.recipes if r.technique == technique)
    recorded = read_json(project.layout.run(recipe) / "metrics.json")
    found = timing.measure(project.layout, recipe, "cpu", 1)
    assert found["best"] == recorded["splits"]["validation"]["best"]
    assert found["status"] == "ok" and math.isfinite(found["seconds"])


def test_only_steps_count_as_training(project, monkeypatch):
    """The clock ticks once whenever it is asked, so that seconds count what was asked."""
    clock = iter(range(10**6))
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(clock))
    recipe = next(r for r in project.recipes if r.technique == "b_v")
    found = timing.measure(project.layout, recipe, "cpu", 1)
    # 16 examples in batches of 8, for 2 epochs: 4 steps, each with a look before and after it
    assert found["train_seconds"] == 4
    assert found["seconds"] == 2 * 4 + 1


def test_inputs_that_are_missing_are_one_line(project, tmp_path):
    (timed,) = project.timings.values()
    with pytest.raises(UserError, match="missing; run 'beft fetch"):
        timing.render_timings(Layout(tmp_path), timed)


def test_a_mistake_in_the_process_is_one_line_here(project, tmp_path):
    """A subset that is gone is noticed by the process that reads it."""
    (timed,) = project.timings.values()
    subset = project.layout.subset(timed.recipes[0])
    aside = subset.rename(tmp_path / "aside")
    try:
        with pytest.raises(UserError, match=f"{subset}: missing; run 'snakemake data'"):
            timing.render_timings(project.layout, timed)
    finally:
        aside.rename(subset)


@pytest.mark.parametrize(
    ("act", "status"), [(lambda *_: os._exit(7), 7), (lambda *_: os.kill(os.getpid(), 9), -9)]
)
def test_a_process_that_dies_is_one_line(monkeypatch, act, status):
    monkeypatch.setattr(timing, "measure", act)
    context = multiprocessing.get_context("fork")
    with pytest.raises(UserError, match=f"b_v, repeat 1: its process ended with status {status} "):
        timing._alone(context, "b_v, repeat 1", None, None, "cpu", 1)


def family(pid: int) -> list[psutil.Process]:
    """The processes that a process has started, and those that they have."""
    return psutil.Process(pid).children(recursive=True)


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_the_process_that_trains_too(project, tmp_path, sent):
    """As soon as that has started; and leaves no file, half written or whole."""
    folder = Path(shutil.copytree(project.root, tmp_path / "project"))
    sandbox.change(folder / "params.yaml", "tasks", "demo_sentiment", "epochs", to=10**5)
    (key,) = load(folder / "params.yaml").timings
    command = ["beft", "time", "--device", "cpu", f"data/timings/{key}"]
    running = Call(command, folder, sandbox.variables(folder))
    # the process that shares imports, the one that tracks resources, and the one that trains
    while len(started := family(running.pid)) < 3:
        assert not running.ended(), running.said()
        time.sleep(0.05)
    os.kill(running.pid, sent)
    assert running.wait().status == (128 + sent if sent == signal.SIGTERM else -sent)
    _, left = psutil.wait_procs(started, timeout=60)
    assert left == []
    assert not list((folder / "data" / "timings").rglob("*"))
