"""Frames: what is gathered from the folder of a run, by hand-written folders."""

import csv
import json
import math
from dataclasses import replace

import pandas as pd
import pytest
from support import sandbox

from beft.errors import UserError
from beft.report.analysis import cells as grid
from beft.report.frames import schema as F
from beft.report.frames.collect import collect, settings
from beft.store.files import write_folder
from beft.study.project import Project, load

PARAMS = {
    **sandbox.PARAMS,
    "decoder": {"objective": "language_model_on_answer"},
    "models": {"rotary": {"hub": "own/rotary", "revision": "r", "kind": "decoder"}},
    "tasks": {
        "squad": {
            "hub": "own/squad",
            "revision": "r",
            "decoder": {"regimes": {"low": 4}, "learning_rate": 1e-3, "epochs": 2},
        }
    },
}
STUDY = {
    "models": ["rotary"], "tasks": ["squad"], "regimes": ["low"], "techniques": ["b_v", "b_q"],
    "seeds": [0], "selectors": [],
}  # fmt: skip
# the best epoch by F1 is the first one; exact match is better in the second one
METRICS = {
    "status": "ok", "reason": "", "metric": "answer_f1", "train_examples": 4,
    "best_epoch": 1, "epochs": 2,
    "trainable_params": 320, "trainable_percent": 0.125, "added_biases": 960,
    "splits": {"validation": {"best": 0.75, "last": 0.5}},
    "other_metrics": {"validation": {"exact_match": {"best": 0.25, "last": 0.375}}},
}  # fmt: skip
HISTORY = """epoch,train_loss,validation/exact_match,validation/answer_f1
0,,0.0,0.125
1,2.5,0.25,0.75
2,2.0,0.375,0.5
"""
ORIGIN = {"commit": "c", "device": "cpu", "versions": {"torch": "2"}, "seconds": 1.5}
ORIGIN |= {
    "code": "c0de",
    "peak_memory_mb": 10.0,
    "command": "beft",
    "inputs": {"source": {}, "model": {}},
}
ORIGIN |= {"demonstrations": {"validation": {"mean": 2.5, "least": 1, "without": 0}}}


@pytest.fixture
def project(tmp_path) -> Project:
    """A study of two runs, of which b_v is there."""
    sandbox.write(tmp_path / "params.yaml", PARAMS)
    sandbox.write(tmp_path / "studies" / "mini.yaml", STUDY)
    made = load(tmp_path / "params.yaml")
    recipe = next(r for r in made.recipes if r.technique == "b_v")
    contents = {"recipe.json": recipe.to_dict(), "metrics.json": METRICS, "provenance.json": ORIGIN}
    files = {name: json.dumps(data).encode() for name, data in contents.items()}
    write_folder(made.layout.run(recipe), files | {"history.csv": HISTORY.encode()})
    return made


def test_further_metrics_are_further_evaluations(project) -> None:
    rows = collect(project).evaluations[["split", "metric", "best", "last"]].values.tolist()
    assert rows == [
        ["validation", "answer_f1", 0.75, 0.5],
        ["validation", "exact_match", 0.25, 0.375],
    ]


def test_evaluations_say_how_many_demonstrations_were_shown(project, tmp_path) -> None:
    frames = collect(project)
    F.write(frames, tmp_path)
    for found in (frames, F.read(tmp_path)):
        table = found.evaluations
        assert table["demonstrations"].tolist() == [2.5, 2.5]
        assert table["least_demonstrations"].tolist() == [1, 1]


def test_a_number_is_of_the_reported_metric(project) -> None:
    table = grid.cells(collect(project)).set_index("technique")
    assert table["mean"]["b_v"] == 0.75 and math.isnan(table["mean"]["b_q"])
    assert table["status"]["b_q"] == "missing"


def test_history_is_of_the_reported_metric(project) -> None:
    history = collect(project).history
    assert history["metric"].unique().tolist() == ["answer_f1"]
    assert history["value"].tolist() == [0.125, 0.75, 0.5]


def test_added_biases_are_kept_with_what_made_the_run(project, tmp_path) -> None:
    frames = collect(project)
    F.write(frames, tmp_path)
    for found in (frames, F.read(tmp_path)):
        assert found.provenance["added_biases"].tolist() == [960]
    assert "added_biases" not in frames.runs


def test_settings_say_which_models_are_decoders(project) -> None:
    assert settings(project)["models"]["rotary"]["kind"] == "decoder"


def test_no_text_in_a_csv_file_is_a_formula(project, tmp_path) -> None:
    texts = ["=cmd|' /C calc'!A0", "'=1", "@x", "-1+1", "plain"]
    frames = collect(project)
    problems = F.frame("problems", [{"reason": text} for text in texts])
    F.write(replace(frames, problems=problems), tmp_path)
    with (tmp_path / "problems.csv").open(newline="") as file:
        written = [row["reason"] for row in csv.DictReader(file)]
    assert written == [f"'{text}" for text in texts[:-1]] + ["plain"]
    assert F.read(tmp_path).problems["reason"].tolist() == texts


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("runs.csv", b""),
        ("runs.csv", b"study\n\xff\n"),
        ("scores.csv", b'model,task\n"a,b\n'),
        ("settings.json", b"{"),
        ("settings.json", b"[]"),
    ],
)
def test_a_damaged_file_is_named(project, tmp_path, name, content) -> None:
    F.write(collect(project), tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name}: (damaged|not a mapping)"):
        F.read(tmp_path)


SMALL = ("mini-rotary",), ("sst2",), ("low",)


@pytest.mark.parametrize("name", F.COLUMNS)
def test_a_column_that_is_missing_is_named(make, tmp_path, name) -> None:
    F.write(make(*SMALL), tmp_path)
    table = pd.read_csv(tmp_path / f"{name}.csv", dtype=str)
    for column in (F.COLUMNS[name][0], F.COLUMNS[name][-1]):
        table.drop(columns=column).to_csv(tmp_path / f"{name}.csv", index=False)
        with pytest.raises(UserError, match=rf"{name}\.csv: the column '{column}' is missing; run"):
            F.read(tmp_path)
    table.assign(mine=1).to_csv(tmp_path / f"{name}.csv", index=False)
    F.read(tmp_path)  # one more does no harm


@pytest.mark.parametrize(
    ("name", "column"),
    [("runs", "seed"), ("runs", "best"), ("scores", "score"), ("intervals", "low")],
)
def test_a_value_that_is_no_number_is_named_with_its_line(make, tmp_path, name, column) -> None:
    F.write(make(*SMALL), tmp_path)
    table = pd.read_csv(tmp_path / f"{name}.csv", dtype=str, keep_default_na=False)
    table.loc[1, column] = "much"
    table.to_csv(tmp_path / f"{name}.csv", index=False)
    with pytest.raises(UserError, match=rf"{name}\.csv, line 3: {column}: 'much' is no number"):
        F.read(tmp_path)
