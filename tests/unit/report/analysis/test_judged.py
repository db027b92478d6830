"""How good selectors are: choices whose worth is worked out by hand, and intervals that cover."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import bootstrap
from support.frames_of import frames_of

from beft.report import metrics_json
from beft.report.analysis import judged
from beft.report.frames.columns import COLUMNS
from beft.report.frames.schema import Frames
from beft.report.statistics import clusters
from beft.report.tables.formats import plain, to_markdown
from beft.report.tables.selection import selection
from beft.report.tables.selectors import in_words, selectors

# task -> the metric of each term
OUTCOMES = {
    "a": {"q": 0.7, "k": 0.5, "v": 0.9},
    "b": {"q": 0.8, "k": 0.4, "v": 0.6},
    "c": {"q": 0.7, "k": 0.1, "v": 0.7},
}


def study(scores: dict[str, dict[str, dict[str, float]]], outcomes=None, inert=()) -> Frames:
    """One run per term and task from `outcomes`; scores: selector -> task -> term -> score."""
    outcomes = OUTCOMES if outcomes is None else outcomes
    runs = [
        {"model": "m", "task": task, "regime": "low", "technique": f"b_{term}", "seed": 0,
         "epochs": 3, "best": value, "last": value, "metric": "accuracy", "digest": f"{task}{term}",
         "status": "ok" if isinstance(value, float) else value}
        for task, terms in outcomes.items() for term, value in terms.items()
    ]  # fmt: skip
    rows = [
        ["m", task, "low", 0, selector, term, "mean", value, 1, term in inert]
        for selector, tasks in scores.items()
        for task, terms in tasks.items()
        for term, value in terms.items()
    ]
    table = pd.DataFrame(runs)
    for column in ("best", "last"):
        table[column] = pd.to_numeric(table[column], errors="coerce")
    kept = pd.DataFrame(rows, columns=COLUMNS["scores"])
    return frames_of({}, runs=table, scores=kept)


def each(change) -> dict[str, dict[str, float]]:
    """A score for every term of every task, made from its outcome."""
    return {t: {term: change(x) for term, x in terms.items()} for t, terms in OUTCOMES.items()}


PERFECT = {**each(lambda x: x), "c": {"q": 0.70, "k": 0.1, "v": 0.71}}
SCORES = {
    "projection": PERFECT,
    "magnitude": each(lambda x: -x),
    "fisher": each(lambda x: 1.0),
    "fisher_batch": each(lambda x: math.nan),
}


@pytest.fixture(scope="module")
def known() -> pd.DataFrame:
    return judged.summary(study(SCORES, inert=("k",))).set_index("selector")


# Hits: in a and b; in c, q and v are equal, so no term is ahead. Regret: a 0.9, b 0.8, c 0.7 are
# the best. random: means 0.7, 0.6, 0.5. Gain: against 0.9, 0.6 and 0.7.
@pytest.mark.parametrize(
    ("selector", "hit", "regret", "worst", "gain"),
    [
        ("oracle", 1, 0, 0, 0.2 / 3),
        ("always v", 1 / 2, 0.2 / 3, 0.2, 0),
        ("random", 1 / 3, 0.2, 0.2, (-0.2 + 0.0 - 0.2) / 3),
        ("projection", 1, 0, 0, 0.2 / 3),
        ("magnitude", 0, 1.4 / 3, 0.6, (-0.4 - 0.2 - 0.6) / 3),
        ("fisher", math.nan, math.nan, math.nan, math.nan),
        ("fisher_batch", math.nan, math.nan, math.nan, math.nan),
    ],
)
def test_worth_of_a_choice(known, selector, hit, regret, worst, gain) -> None:
    row = known.loc[selector]
    expected = [hit, regret, worst, gain]
    assert list(row[["hit", "regret", "worst", "gain"]]) == pytest.approx(expected, nan_ok=True)
    assert row["cells"] == row["clusters"] == 3


def test_what_chooses_nothing_is_counted(known) -> None:
    columns = ["judged", "regretted", "ties", "undefined", "no_result", "inert"]
    assert list(known.loc["projection", columns]) == [2, 3, 0, 0, 0, 0]
    assert list(known.loc["magnitude", columns]) == [2, 3, 0, 0, 0, 3]  # chose k, which is inert
    assert list(known.loc["fisher", columns]) == [0, 0, 3, 0, 0, 0]
    assert list(known.loc["fisher_batch", columns]) == [0, 0, 0, 3, 0, 0]
    assert set(known["cells"]) == {3} and set(known["ahead"]) == {2}


def test_rank_correlation(known) -> None:
    # a, b: all three pairs agree. c: two pairs agree, one is tied in the outcomes alone, so tau-b
    # is 2 / sqrt(3 * 2)
    mean = (1 + 1 + 2 / math.sqrt(6)) / 3
    assert known.loc["projection", "correlation"] == pytest.approx(mean)
    # c: here v and q tie in scores and outcomes, so tau-b is -2 / 2
    assert known.loc["magnitude", "correlation"] == pytest.approx(-1)
    assert math.isnan(known.loc["fisher", "correlation"]) and not known.loc["fisher", "correlated"]


def test_a_choice_without_a_result_is_not_the_best_and_has_no_regret() -> None:
    outcomes = {**OUTCOMES, "a": {**OUTCOMES["a"], "k": "skipped"}}
    found = judged.summary(study(SCORES, outcomes)).set_index("selector")
    row = found.loc["magnitude"]
    assert (row["judged"], row["regretted"], row["no_result"], row["hit"]) == (2, 2, 1, 0)
    assert row["regret"] == pytest.approx((0.4 + 0.6) / 2)
    # what is drawn at random is one of those with a result
    assert found.loc["random", "hit"] == pytest.approx((1 / 2 + 1 / 3) / 2)


def test_undecided_cells_are_no_cells() -> None:
    outcomes = {**OUTCOMES, "a": {**OUTCOMES["a"], "q": "diverged"}}
    found = judged.summary(study(SCORES, outcomes)).set_index("selector")
    assert set(found["cells"]) == {2} and set(found["ahead"]) == {1}
    assert found.loc["always v", "hit"] == 0  # in b; in c no term is ahead


# task -> outcomes, and whether choosing v, the only one with a high score, is a hit
@pytest.mark.parametrize(
    ("outcomes", "hits", "none_ahead"),
    [
        ({"a": (0.2, 0.1, 0.9)}, [1], 0),
        ({"a": (0.2, 0.9, 0.1)}, [0], 0),
        ({"a": (0.0, 0.0, 0.0)}, [], 1),  # none learned anything
        ({"a": (0.6, 0.6, 0.6)}, [], 1),  # all predict the majority class
        ({"a": (0.7, 0.1, 0.7)}, [], 1),  # the two best are equal
        ({"a": (0.1, 0.1, 0.7)}, [1], 0),  # only the others are
        ({"a": (0.0, 0.0, 0.0), "b": (0.2, 0.1, 0.9), "c": (0.0, 0.5, 0.0)}, [1, 0], 1),
    ],
)
def test_a_cell_in_which_no_term_is_ahead_is_no_hit(outcomes, hits, none_ahead) -> None:
    told = {t: dict(zip("qkv", x, strict=True)) for t, x in outcomes.items()}
    scores = {"projection": {t: {"q": 1.0, "k": 1.0, "v": 2.0} for t in told}}
    frames = study(scores, told)
    expected = sum(hits) / len(hits) if hits else math.nan
    summed = judged.summary(frames).set_index("selector")
    for way in ("projection", "always v"):
        assert summed.loc[way, "hit"] == pytest.approx(expected, nan_ok=True)
        assert summed.loc[way, "judged"] == len(hits)
    oracle = 1.0 if hits else math.nan
    assert summed.loc["oracle", "hit"] == pytest.approx(oracle, nan_ok=True)
    assert set(summed["cells"] - summed["ahead"]) == {none_ahead}
    counted = metrics_json.metrics_json(frames)["selection"]["projection"]
    assert (counted["agree"], counted["decided"]) == (sum(hits), len(hits))
    assert (counted["none_ahead"], counted["cells"]) == (none_ahead, len(told))
    caption, notes = selectors(frames).parts[0].caption, selection(frames).notes
    assert ("no term is ahead" in caption) == bool(none_ahead)
    assert any(note.startswith("No term is ahead in 1 of") for note in notes) == bool(none_ahead)


def test_without_runs_of_v_nothing_is_held_against_it() -> None:
    outcomes = {t: {"q": x["q"], "k": x["k"]} for t, x in OUTCOMES.items()}
    frames = study({"projection": PERFECT}, outcomes)
    row = judged.summary(frames).set_index("selector").loc["always v"]
    assert row["judged"] == 0 and math.isnan(row["gain"])
    assert "always v" in to_markdown(selectors(frames))


def test_interval_of_three_cells_is_that_of_all_27_draws(known) -> None:
    regrets = [0.4, 0.4, 0.6]
    draws = [np.mean(draw) for draw in itertools.product(regrets, repeat=3)]
    expected = np.quantile(draws, [0.025, 0.975], method="inverted_cdf")
    row = known.loc["magnitude"]
    assert [row["regret_low"], row["regret_high"]] == pytest.approx(list(expected), abs=1e-9)


def cells(values: list[list[float]]) -> pd.DataFrame:
    """One cluster per inner list."""
    return pd.DataFrame(
        [["m", f"t{i}", x] for i, own in enumerate(values) for x in own],
        columns=["model", "task", "x"],
    )


def test_clusters_are_drawn_whole() -> None:
    """Copies of a cell within its cluster say nothing new; as cells of their own they would."""
    once = clusters.interval(cells([[0.0], [1.0], [5.0], [7.0]]), "x", "n")
    copied = clusters.interval(cells([[0.0] * 9, [1.0] * 9, [5.0] * 9, [7.0] * 9]), "x", "n")
    assert copied == pytest.approx(once)
    apart = clusters.interval(cells([[x] for x in [0.0, 1.0, 5.0, 7.0] * 9]), "x", "n")
    assert apart[1] - apart[0] < (once[1] - once[0]) / 2


def test_fewer_than_three_clusters_have_no_interval() -> None:
    low, high = clusters.interval(cells([[0.0, 1.0], [2.0, 3.0]]), "x", "n")
    assert math.isnan(low) and math.isnan(high)
    lost = cells([[0.0], [1.0], [math.nan]])
    assert math.isnan(clusters.interval(lost, "x", "n")[0])


def test_draws_follow_from_the_name_alone() -> None:
    rows = cells([[x] for x in np.linspace(0, 1, 12) ** 2])
    first = clusters.interval(rows, "x", "n")
    assert clusters.interval(rows.iloc[::-1], "x", "n") == pytest.approx(first)
    assert clusters.interval(rows, "x", "other") != first


def test_interval_is_scipys() -> None:
    values = np.random.default_rng(5).gamma(2, size=30)
    found = clusters.interval(cells([[x] for x in values]), "x", "n")
    theirs = bootstrap((values,), np.mean, method="percentile", n_resamples=2000, rng=1)
    # two draws of 2,000 differ in their quantiles by chance
    assert found == pytest.approx(tuple(theirs.confidence_interval), abs=0.05)


def test_intervals_cover_the_truth() -> None:
    """Simulated effects of a cluster and of a cell around 0: 95 % must cover it nearly as often."""
    rng, covered = np.random.default_rng(3), {"clusters": 0, "cells": 0}
    for trial in range(80):
        shared = rng.normal(0, 1, 25)
        table = cells([[x + e for e in rng.normal(0, 0.3, 4)] for x in shared])
        for name, rows in (("clusters", table), ("cells", table.assign(task=range(100)))):
            low, high = clusters.interval(rows, "x", f"{name}{trial}")
            covered[name] += low <= 0 <= high
    # binomial(80, 0.92), the percentile bootstrap of 25 clusters being somewhat too narrow, is
    # below 66 once in 1,000 times; intervals of independent cells would be half as wide as needed
    assert covered["clusters"] >= 66
    assert covered["cells"] < 64


def test_table_says_n_and_clusters() -> None:
    table = selectors(study(SCORES, inert=("k",)))
    assert [part.caption for part in table.parts] == [
        "all cells: 3 decided (no term is ahead in 1), of 3 pairs of model and task"
    ]
    rows = {row[0].text: [plain(cell) for cell in row[1:]] for row in table.parts[0].rows}
    assert rows["magnitude"][0] == "0.0 (—, n=2)"
    assert rows["magnitude"][1] == "46.67 (40.00 to 60.00, n=3)"
    assert rows["magnitude"][2] == "60.00"
    assert rows["magnitude"][-4:] == ["0", "0", "0", "3"]
    assert rows["fisher"][:5] == ["—"] * 5 and rows["fisher"][5] == "3"


def test_two_tasks_show_a_mean_and_no_interval() -> None:
    outcomes = {task: OUTCOMES[task] for task in ("a", "b")}
    row = selectors(study(SCORES, outcomes)).parts[0].rows[4]
    assert plain(row[0]) == "magnitude" and plain(row[2]) == "40.00 (—, n=2)"


def test_regimes_and_models_have_parts_where_there_are_several(frames: Frames) -> None:
    captions = [part.caption.split(":")[0] for part in selectors(frames).parts]
    assert captions == [
        *("all cells", "regime low", "regime medium", "regime high"),
        *("model bert-base-cased", "model mini-rotary"),
    ]
    table = selectors(frames).tidy
    everywhere = table[table["group"] == "all cells"].set_index("selector")["cells"]
    by_model = table[table["model"] != ""].groupby("selector")["cells"].sum()
    assert dict(by_model) == dict(everywhere)


def test_metrics_and_page_say_what_a_choice_is_worth() -> None:
    frames = study(SCORES)
    content = metrics_json.metrics_json(frames)["selection"]
    assert content["magnitude"]["regret"] == round(1.4 / 3, 6)
    assert content["magnitude"]["gain"] == round(-1.2 / 3, 6)
    assert content["magnitude"]["regret_low"] == 0.4
    assert content["fisher"]["regret"] is None
    words = in_words(frames)["magnitude"]
    assert words.startswith("regret 46.67 points (40.00 to 60.00), against always v -40.00 (")


def test_the_table_says_where_the_epoch_was_chosen(frames) -> None:
    def said(study, column="best") -> bool:
        return any("optimistic" in note for note in selectors(study, column).notes)

    held = frames.history.assign(split="held_out")
    assert said(frames) and not said(frames, "last")
    assert not said(replace(frames, history=pd.concat([frames.history, held])))
