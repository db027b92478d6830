"""Selection: the argmax of mean scores, and the outcome it is held against."""

import math

import pandas as pd
import pytest
from support.frames_of import frames_of

from beft.report.analysis import selection as chosen
from beft.report.frames.columns import COLUMNS
from beft.report.frames.schema import Frames

PLACE = ("m", "t", "low")


def study(metric: dict[str, list], scores: dict[str, list], states: dict[str, str]) -> Frames:
    """One place; per term the metric of each seed and the mean score of each seed."""
    runs = [
        {"model": "m", "task": "t", "regime": "low", "technique": f"b_{term}", "seed": seed,
         "best": value, "last": value, "metric": "accuracy", "digest": f"{term}{seed}",
         "status": states.get(term, "ok")}
        for term, values in metric.items() for seed, value in enumerate(values)
    ]  # fmt: skip
    rows = [
        {"model": "m", "task": "t", "regime": "low", "seed": seed, "selector": "projection",
         "term": term, "layer": layer, "score": value if layer == "mean" else 99 - value,
         "rank": 1, "inert": term == "k"}
        for term, values in scores.items() for seed, value in enumerate(values)
        for layer in ("0", "mean")
    ]  # fmt: skip
    columns = COLUMNS["scores"]
    return frames_of(
        runs=pd.DataFrame(runs),
        evaluations=pd.DataFrame(columns=["digest", "split", "metric", "best", "last"]),
        history=pd.DataFrame(columns=["digest", "epoch", "train_loss", "split", "metric", "value"]),
        problems=pd.DataFrame(columns=["digest", "status", "reason"]),
        provenance=pd.DataFrame(columns=["digest", "commit", "dirty", "started", "command"]),
        scores=pd.DataFrame(rows, columns=columns),
        settings={},
    )


WON = {"q": [0.5, 0.8], "k": [0.4, 0.4], "v": [0.9, 0.6]}


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        # the mean over seeds decides, not the single highest score: q 3.0, v (5 + 2) / 2 = 3.5
        ({"q": [6, 0], "k": [1, 1], "v": [5, 2]}, ["v"]),
        # only q, k and v compete
        ({"q": [2, 2], "k": [1, 1], "v": [1, 1], "output": [9, 9]}, ["q"]),
        ({"q": [2, 2], "k": [1, 1], "v": [2, 2]}, ["q", "v"]),
        ({"q": [math.nan, 2], "k": [1, 1], "v": [1, 1]}, ["q"]),
        ({"q": [math.inf, 2], "k": [1, 1], "v": [math.nan, math.nan]}, ["k"]),
        ({"q": [math.nan] * 2, "k": [math.nan] * 2, "v": [math.nan] * 2}, []),
    ],
)
def test_choice_is_the_argmax_of_the_mean(scores: dict, expected: list[str]) -> None:
    assert chosen.chosen(study(WON, scores, {}))[(*PLACE, "projection")] == expected


SCORES = {"q": [1, 1], "k": [0, 0], "v": [2, 2]}


@pytest.mark.parametrize(
    ("metric", "states", "best", "agree", "seeds"),
    [
        # v wins the mean 0.75 to 0.65, and one of two seeds
        (WON, {}, "v", True, (1, 2)),
        ({**WON, "q": [0.9, 0.9]}, {}, "q", False, (2, 2)),
        ({**WON, "q": [0.9, 0.6]}, {}, "q/v", None, (2, 2)),
        # an inert term that was left out on purpose does not stand in the way; a failed one does
        ({**WON, "k": [math.nan] * 2}, {"k": "skipped"}, "v", True, (1, 2)),
        ({**WON, "k": [math.nan] * 2}, {"k": "failed"}, "", None, (0, 0)),
        ({"v": [0.9, 0.9]}, {}, "", None, (0, 0)),
    ],
)
def test_outcome(metric: dict, states: dict, best: str, agree: bool | None, seeds: tuple) -> None:
    row = chosen.selection(study(metric, SCORES, states)).iloc[0]
    assert (row["selected"], row["best"], row["agree"]) == ("v", best, agree)
    assert (row["seeds_won"], row["seeds"]) == seeds
    assert bool(row["reason"]) == (agree is None)
    assert row["inert_terms"] == "k"


def test_lead_is_the_distance_to_the_runner_up() -> None:
    row = chosen.selection(study(WON, SCORES, {})).iloc[0]
    assert row["lead"] == pytest.approx(0.75 - 0.65)


def test_agreement_counts_decided_cells(frames: Frames) -> None:
    counts = chosen.agreement(chosen.selection(frames))
    # 2 models x 3 tasks x 3 regimes; b_v of one cell was never run
    assert {count["cells"] for count in counts.values()} == {18}
    assert {count["decided"] for count in counts.values()} == {17}
    # conftest: v comes out best everywhere, and magnitude always prefers q
    assert counts["magnitude"]["agree"] == 0
    assert counts["projection"]["agree"] == 17


def test_inert_terms_are_inert_in_every_seed(frames: Frames) -> None:
    found = chosen.inert(frames)
    assert found[("bert-base-cased", "sst2", "low")] == ("k",)
    assert not any(model == "mini-rotary" for model, _, _ in found)


def test_no_scores_and_no_runs(nothing: Frames) -> None:
    assert chosen.selection(nothing).empty
