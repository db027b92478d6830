"""Runs that are evaluated once, after their last epoch."""

import csv
import os
import signal
from pathlib import Path

import pytest
from safetensors.numpy import load_file
from support import sandbox
from support.trained import everything

from beft.operations.verify_metrics import Answers, metrics_flaw
from beft.report.analysis import epochs
from beft.report.build import build
from beft.report.frames import schema
from beft.report.frames.collect import collect
from beft.store.files import read_json
from beft.store.run_folder import open_run
from beft.training import pack as runner
from beft.training.state import Interrupted

EPOCHS = 4
STUDY = sandbox.STUDY | {
    "techniques": ["b_v", "untuned"],
    "tables": ["table1", "extension", "settled"],
    "figures": ["curves", "extension", "settled"],
    "training": {"epochs": EPOCHS, "evaluations": "last"},
}


def folders(project) -> dict[tuple[str, bool], Path]:
    """(technique, whether it is evaluated after each epoch) -> the run's folder."""
    return {(r.technique, r.evaluates_each_epoch): project.layout.run(r) for r in project.recipes}


def history(run: Path) -> list[dict[str, str]]:
    with (run / "history.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Each run evaluated once, and after every epoch."""
    also = [{"training": {"epochs": EPOCHS}, "selectors": []}]
    folder = sandbox.make(tmp_path_factory.mktemp("last"), study=STUDY | {"also": also})
    return everything(folder)


def test_the_only_evaluation_is_that_after_the_last_epoch(project):
    runs = folders(project)
    once, each = runs["b_v", False], runs["b_v", True]
    assert [row["epoch"] for row in history(each)] == ["1", "2", "3", "4"]
    (row,) = history(once)
    assert row.keys() == history(each)[-1].keys()
    assert [float(v) for v in row.values()] == pytest.approx(
        [float(v) for v in history(each)[-1].values()], rel=1e-5
    )
    told = read_json(once / "metrics.json")
    assert told["epochs"] == told["best_epoch"] == EPOCHS
    assert read_json(each / "metrics.json")["epochs"] == EPOCHS
    scores = told["splits"]["validation"]
    assert scores["best"] == scores["last"] == float(history(once)[0]["validation/accuracy"])
    for name in ("head", "predictions", "examples"):
        kept, all_ = (load_file(run / f"{name}.safetensors") for run in (once, each))
        last = {key.removeprefix("last/"): v for key, v in all_.items() if key.startswith("last/")}
        assert set(kept) == {f"{epoch}/{key}" for key in last for epoch in ("best", "last")}
        for key, value in last.items():
            assert kept[f"last/{key}"] == pytest.approx(value, rel=1e-5, abs=2e-6)
            assert (kept[f"best/{key}"] == kept[f"last/{key}"]).all()
    kept, all_ = (load_file(run / "biases.safetensors") for run in (once, each))
    assert set(kept) == set(all_), "the biases after each epoch are kept"


def test_what_is_not_trained_is_the_same_run(project):
    assert [key for key in folders(project) if key[0] == "untuned"] == [("untuned", True)]


def test_metrics_follow_from_the_files(project):
    answers = Answers(project.layout)
    runs = [open_run(project.layout, recipe) for recipe in project.recipes]
    assert [metrics_flaw(run, answers) for run in runs] == [None] * len(runs)


def test_reports_have_one_point(project, tmp_path):
    frames = collect(project)
    assert "runs are evaluated after their last epoch alone. Of the others" in (
        epochs.chosen_epoch(frames)
    )
    schema.write(frames, tmp_path)
    build(tmp_path)
    for name in STUDY["figures"]:
        assert (tmp_path / "figures" / f"{name}.svg").stat().st_size
    assert "evaluated after their last epoch alone" in (tmp_path / "index.html").read_text()


def test_a_stopped_run_ends_with_the_bytes_of_an_undisturbed_one(project, tmp_path):
    folder, calls = sandbox.make(tmp_path, study=STUDY), []

    def stop_once(done: int, total: int, text: str) -> None:
        calls.append(done)
        if len(calls) == 5:  # in the third of four epochs of two steps
            os.kill(os.getpid(), signal.SIGTERM)

    real = runner.run_pack
    stopped = []

    def interrupted(layout, pack, manifest):
        try:
            real(layout, pack, manifest, progress=stop_once)
        except Interrupted:
            stopped.append(1)
            real(layout, pack, manifest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "run_pack", interrupted)
        found = folders(everything(folder))
    assert stopped == [1]
    whole = folders(project)
    for name in ("metrics.json", "history.csv", "biases.safetensors", "predictions.safetensors"):
        ours, theirs = (runs["b_v", False] / name for runs in (found, whole))
        assert ours.read_bytes() == theirs.read_bytes(), name
