"""When a choice is settled, worked out by hand from scores after each epoch."""

import math

import pandas as pd
import pytest
from support.frames_of import frames_of

from beft.report.analysis.settled import facts
from beft.report.frames.columns import COLUMNS
from beft.report.frames.schema import Frames
from beft.report.tables.formats import plain
from beft.report.tables.settled import settled

Q, K, V = (2.0, 0.0, 1.0), (0.0, 2.0, 1.0), (1.0, 0.0, 2.0)  # scores of q, k, v; named by the first
TIE, NONE = (2.0, 0.0, 2.0), (math.nan,) * 3
METRIC = {"q": 0.7, "k": 0.5, "v": 0.9}


def study(epochs: list[tuple], seeds: int = 1) -> Frames:
    """One cell whose runs of all biases have these scores after each epoch."""
    terms = {f"b_{term}": value for term, value in METRIC.items()} | {"all_biases": 0.9}
    runs = [
        {"model": "m", "task": "t", "regime": "low", "technique": technique, "seed": seed,
         "best": value, "last": value, "metric": "accuracy", "digest": f"{technique}{seed}",
         "status": "ok"}
        for technique, value in terms.items() for seed in range(seeds)
    ]  # fmt: skip
    rows = [
        [f"all_biases{seed}", "projection", epoch, *scores]
        for seed in range(seeds)
        for epoch, scores in enumerate(epochs, 1)
    ]
    kept = pd.DataFrame(rows, columns=COLUMNS["trajectories"])
    return frames_of({}, runs=pd.DataFrame(runs), trajectories=kept)


@pytest.mark.parametrize(
    ("epochs", "epoch", "share", "cost"),
    [
        ([V, V, V, V], 1, 0.25, 0.0),
        ([Q, V, V, V], 2, 0.5, 0.9 - 0.7),
        ([V, Q, V, V], 3, 0.75, 0.0),
        ([V, Q, V, K], 4, 1.0, 0.5 - 0.9),  # the choice after the first epoch was the better one
        ([TIE, V, V, V], 2, 0.5, math.nan),  # a tie has chosen nothing, so it cost nothing known
        ([V, NONE, V, V], 3, 0.75, 0.0),
    ],
)
def test_settled_after(epochs, epoch, share, cost) -> None:
    row = facts(study(epochs)).iloc[0]
    assert (row["settled_epoch"], row["settled"]) == (epoch, share)
    assert row["cost"] == pytest.approx(cost, nan_ok=True)


@pytest.mark.parametrize(
    ("epochs", "reason"),
    [
        ([V, V, TIE], "tie at the end"),
        ([V, V, NONE], "scores undefined at the end"),
        ([V], "one epoch only"),
    ],
)
def test_what_has_no_final_choice_is_counted_apart(epochs, reason) -> None:
    frames = study(epochs, seeds=2)
    assert list(facts(frames)["reason"]) == [reason] * 2
    row = settled(frames).parts[0].rows[0]
    assert row[1].text == "0" and plain(row[-1]) == f"2 2 {reason}"


def test_order_of_rows_is_no_order_of_epochs() -> None:
    frames = study([Q, V, V, V])
    turned = frames_of({}, runs=frames.runs, trajectories=frames.trajectories.iloc[::-1])
    assert facts(turned).iloc[0]["settled_epoch"] == 2


def test_quartiles_are_over_runs(frames: Frames) -> None:
    tidy, part = facts(frames), settled(frames).parts[0]
    assert part.caption == "all models" and len(settled(frames).parts) == 3
    own = tidy[tidy["selector"] == "magnitude"]["settled"]
    row = dict(zip(part.columns, part.rows[1], strict=True))
    assert row["runs"].text == str(len(own)) == "54"
    assert row["median"].text == f"{100 * own.median():.0f}"
    early = (own == 1 / 8).mean()
    assert row["settled after epoch 1"].text == f"{100 * early:.0f}"


def test_other_settings_do_not_count() -> None:
    """A run that is not among those shown has scores, and no place in the table."""
    frames = study([V, V])
    other = frames.trajectories.assign(digest="elsewhere")
    both = pd.concat([frames.trajectories, other])
    assert len(facts(frames_of({}, runs=frames.runs, trajectories=both))) == 1
