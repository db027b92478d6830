"""Cells: means, deviations and reasons, against numbers worked out by hand."""

import math
from dataclasses import replace

import pandas as pd
import pytest
from support.frames_of import frames_of

from beft.report import metrics_json
from beft.report.analysis import cells as grid
from beft.report.analysis import epochs
from beft.report.frames.columns import COLUMNS
from beft.report.frames.schema import Frames

KEY = ("m", "t", "low", "b_v", "validation")


def study(runs: list[tuple], problems: list[tuple] = (), evaluations: list[tuple] = ()) -> Frames:
    """A study of one model and task from (technique, seed, best, last, status)."""
    rows = [
        {"model": "m", "task": "t", "regime": "low", "technique": technique, "seed": seed,
         "best": best, "last": last, "status": status, "digest": f"{technique}{seed}",
         "metric": "accuracy"}
        for technique, seed, best, last, status in runs
    ]  # fmt: skip
    return frames_of(
        runs=pd.DataFrame(rows),
        evaluations=pd.DataFrame(
            list(evaluations), columns=["digest", "split", "metric", "best", "last"]
        ),
        history=pd.DataFrame(columns=["digest", "epoch", "train_loss", "split", "metric", "value"]),
        problems=pd.DataFrame(list(problems), columns=["digest", "status", "reason"]),
        provenance=pd.DataFrame(columns=["digest", "commit", "dirty", "started", "command"]),
        scores=pd.DataFrame(columns=COLUMNS["scores"]),
        settings={"models": {"m": {}}, "tasks": {"t": {}}, "regimes": ["low"]},
    )


def test_mean_and_sample_deviation() -> None:
    # 0.2, 0.4, 0.9: mean 0.5; squares 0.09 + 0.01 + 0.16 = 0.26, over n - 1 = 2: root of 0.13
    runs = [("b_v", 0, 0.2, 0.1, "ok"), ("b_v", 1, 0.4, 0.1, "ok"), ("b_v", 2, 0.9, 0.4, "ok")]
    cell = grid.cells(study(runs)).loc[KEY]
    assert cell["mean"] == pytest.approx(0.5)
    assert cell["std"] == pytest.approx(math.sqrt(0.13))
    assert (cell["n"], cell["planned"], cell["status"], cell["reason"]) == (3, 3, "ok", "")
    assert grid.cells(study(runs), "last").loc[KEY]["mean"] == pytest.approx(0.2)


def test_runs_of_another_rate_are_in_no_mean() -> None:
    """Two runs of one place and seed: the study's first is the one that is shown."""
    runs = [("b_v", 0, 0.2, 0.1, "ok"), ("b_v", 1, 0.4, 0.1, "ok"), ("b_v", 0, 0.9, 0.9, "ok")]
    whole = study(runs)
    whole.runs["digest"] = ["first", "second", "other"]
    cell = grid.cells(grid.shown(whole)).loc[KEY]
    assert (cell["mean"], cell["n"], cell["planned"]) == (pytest.approx(0.3), 2, 2)


def test_one_run_has_no_deviation() -> None:
    cell = grid.cells(study([("b_v", 0, 0.7, 0.7, "ok")])).loc[KEY]
    assert cell["mean"] == pytest.approx(0.7)
    assert math.isnan(cell["std"])


@pytest.mark.parametrize(
    ("states", "n", "status", "short"),
    [
        (["ok", "diverged", "diverged"], 1, "partial", "2/3 diverged"),
        (["diverged", "failed", "failed"], 0, "diverged+failed", "1/3 diverged, 2/3 failed"),
        (["missing", "missing"], 0, "missing", "missing"),
        (["ok", "missing"], 1, "partial", "1/2 missing"),
        (["skipped", "skipped"], 0, "skipped", "skipped: inert"),
    ],
)
def test_runs_that_do_not_count(states: list[str], n: int, status: str, short: str) -> None:
    runs = [("b_v", i, 0.6 if s == "ok" else math.nan, 0.5, s) for i, s in enumerate(states)]
    problems = [(f"b_v{i}", s, "inert\nterm") for i, s in enumerate(states) if s == "skipped"]
    cell = grid.cells(study(runs, problems)).loc[KEY]
    assert (cell["n"], cell["status"], cell["short"]) == (n, status, short)
    assert "\n" not in cell["reason"]


def test_a_number_of_a_failed_run_never_counts() -> None:
    runs = [("b_v", 0, 0.9, 0.9, "diverged"), ("b_v", 1, 0.5, 0.5, "ok")]
    evaluations = [("b_v0", "validation", "accuracy", 0.9, 0.9)]
    assert grid.cells(study(runs, (), evaluations)).loc[KEY]["mean"] == pytest.approx(0.5)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_undefined_metric_is_not_a_number(value: float) -> None:
    cell = grid.cells(study([("b_v", 0, value, value, "ok"), ("b_v", 1, 0.5, 0.5, "ok")])).loc[KEY]
    assert (cell["n"], cell["short"]) == (1, "1/2 undefined")


def test_two_splits_are_two_cells() -> None:
    evaluations = [
        ("b_v0", "validation_matched", "accuracy", 0.4, 0.3),
        ("b_v0", "validation_mismatched", "accuracy", 0.6, 0.5),
    ]
    frames = study([("b_v", 0, 0.4, 0.3, "ok"), ("b_q", 0, None, None, "missing")], (), evaluations)
    table = grid.cells(frames)
    assert table["mean"].dropna().tolist() == [0.4, 0.6]
    assert table.loc[("m", "t", "low", "b_q", "validation_mismatched")]["short"] == "missing"
    assert metrics_json.metrics_json(frames)["best"] == {
        "m": {
            "t": {"low": {"b_v": 0.4, "b_q": None}},
            "t_mismatched": {"low": {"b_v": 0.6, "b_q": None}},
        }
    }


def test_order_of_display_is_the_order_of_the_study(frames: Frames) -> None:
    turned = replace(frames, settings={**frames.settings, "regimes": ["high", "low"]})
    assert grid.order(turned, "regime") == ["high", "low", "medium"]


def test_summary_is_json_without_nan(frames: Frames, nothing: Frames) -> None:
    content = metrics_json.metrics_json(frames)
    text = metrics_json.dump(content)
    assert "NaN" not in text and text == metrics_json.dump(metrics_json.metrics_json(frames))
    assert content["best"]["bert-base-cased"]["mnli"]["high"]["b_v"] is None
    # conftest: two runs diverge, one fails, b_k of stsb is skipped (3 regimes x 3 seeds), 3 missing
    assert content["runs"] == {
        "ok": len(frames.runs) - 15, "diverged": 2, "failed": 1, "skipped": 9, "missing": 3,
    }  # fmt: skip
    assert metrics_json.metrics_json(nothing) == {
        "best": {}, "guessing": {}, "nothing_beats_guessing": None, "selection": {},
        "runs": dict.fromkeys(grid.STATUSES, 0),
    }  # fmt: skip


def test_the_summary_counts_runs_of_further_settings_too() -> None:
    """They are in runs.csv and on the page; a mean is of the first setting alone."""
    first = study([("b_v", 0, 0.5, 0.5, "ok")])
    further = first.runs.assign(learning_rate=0.1, digest="further", status="failed")
    frames = replace(first, runs=pd.concat([first.runs, further], ignore_index=True))
    content = metrics_json.metrics_json(frames)
    assert content["runs"] == {**dict.fromkeys(grid.STATUSES, 0), "ok": 1, "failed": 1}
    assert content["best"] == metrics_json.metrics_json(first)["best"]


@pytest.mark.parametrize(
    ("held", "words"),
    [
        ([], "is chosen on the set that is reported, which is optimistic"),
        (["b_v0", "b_v1"], "is chosen on examples held out from training, not on the set"),
        (["b_v1"], "of 1 of 2 runs is chosen on examples held out from training, that of"),
    ],
)
def test_how_the_epoch_was_chosen_is_said(held, words) -> None:
    runs = [("b_v", 0, 0.2, 0.1, "ok"), ("b_v", 1, 0.4, 0.1, "ok"), ("b_v", 2, 0.4, 0.1, "failed")]
    frames = study(runs)
    splits = [(d, s) for d in ("b_v0", "b_v1") for s in ("validation", "held_out")]
    history = pd.DataFrame(
        [(d, s, e) for d, s in splits if s == "validation" or d in held for e in (1, 2, 3)],
        columns=["digest", "split", "epoch"],
    )
    told = replace(frames, runs=frames.runs.assign(epochs=3), history=history)
    assert words in epochs.chosen_epoch(told)


@pytest.mark.parametrize(
    ("once", "words"),
    [
        (["b_v0", "b_v1"], ["The epoch is the last one, the only one after which runs"]),
        (["b_v1"], ["1 of 2 runs are evaluated after their last epoch", "which is optimistic"]),
    ],
)
def test_runs_that_are_evaluated_once_choose_no_epoch(once, words) -> None:
    frames = study([("b_v", 0, 0.2, 0.1, "ok"), ("b_v", 1, 0.4, 0.1, "ok")])
    rows = [(d, "validation", e) for d in ("b_v0", "b_v1") for e in (1, 2, 3)]
    history = pd.DataFrame(
        [row for row in rows if row[0] not in once or row[2] == 3],
        columns=["digest", "split", "epoch"],
    )
    told = replace(frames, runs=frames.runs.assign(epochs=3), history=history)
    assert all(word in epochs.chosen_epoch(told) for word in words)


def test_a_table_of_a_union_is_about_the_places_of_its_studies_alone(make) -> None:
    both = make(("bert-base-cased", "mini-rotary"), ("sst2", "stsb"), ("low", "high"))
    places = [["bert-base-cased", "sst2", "low"], ["mini-rotary", "stsb", "low"]]
    told = replace(both, settings={**both.settings, "scopes": {"table1": places}})
    own = grid.scoped(told, "table1")
    for name in ("runs", "scores", "intervals", "comparisons", "gradients"):
        table = getattr(own, name)[["model", "task", "regime"]].drop_duplicates()
        assert sorted(table.values.tolist()) == places, name
    assert list(own.settings["regimes"]) == ["low"]
    assert set(own.settings["tasks"]) == {"sst2", "stsb"}
    assert grid.scoped(told, "figure1") is told  # which no member restricts
