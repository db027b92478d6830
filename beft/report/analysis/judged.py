"""Judge each way to choose a term by the outcomes of its choices, cell by cell."""

import math
from collections.abc import Iterator

import pandas as pd

from beft.report.analysis import cells as grid
from beft.report.analysis import selection as chosen
from beft.report.frames.columns import CELL
from beft.report.frames.schema import Frames, derived
from beft.report.statistics.clusters import clusters, interval

ORACLE, ALWAYS, RANDOM = "oracle", "always v", "random"
BASELINES = (ORACLE, ALWAYS, RANDOM)
FATES = ("tie", "undefined", "no result")  # why a selector's choice has no regret
CHOICES = [*CELL, "selector", "selected", "fate", "inert", "hit", "regret", "gain"]
CHOICES += ["correlation"]
MEANS = ("hit", "regret", "gain", "correlation")
SUMMARY = ["group", "model", "regime", "selector", "cells", "ahead", "clusters", "judged"]
SUMMARY += ["regretted", "ties"]
SUMMARY += ["undefined", "no_result", "inert", "worst", "correlated"]
SUMMARY += [f"{name}{end}" for name in MEANS for end in ("", "_low", "_high")]


@derived
def choices(frames: Frames, column: str = "best") -> pd.DataFrame:
    """One row per decided cell and way to choose, with `CHOICES`.

    Args:
        column: `best` or `last`, the epoch that decides what came out best.

    Returns:
        hit (1: the choice is the best term; of `random` the expectation; undefined for ties and
        undefined scores, and for every choice in a cell in which no term is ahead), regret (the
        best term's mean metric minus the choice's, a fraction), gain (the choice's mean minus that
        of v), correlation (Kendall's tau-b between scores and outcomes of terms that have both).
    """
    results, dead = chosen.outcomes(frames, column), chosen.inert(frames)
    scores, rows = chosen.mean_scores(frames), []
    for place in chosen.places(frames):
        result = results[place]
        if not result["decided"]:
            continue
        rows += [[*place, *row] for row in _baselines(result)]
        for selector in chosen.selectors(frames):
            judged = _judge(scores.get((*place, selector), {}), result, dead.get(place, ()))
            rows.append([*place, selector, *judged])
    table = pd.DataFrame(rows, columns=CHOICES)
    ahead = [
        chosen.is_ahead(results[place]) for place in table[CELL].itertuples(index=False, name=None)
    ]
    return table.assign(hit=table["hit"].where(pd.Series(ahead, index=table.index, dtype=bool)))


def _baselines(result: dict) -> Iterator[list]:
    means, best = result["means"], result["best"]
    top, v = max(means.values()), means.get("v", math.nan)
    average = sum(means.values()) / len(means)
    has = "" if "v" in means else FATES[2]
    yield [ORACLE, best[0], "", False, 1.0, 0.0, top - v, math.nan]
    yield [ALWAYS, "v", has, False, float("v" in best) if not has else math.nan, top - v, 0.0 * v,
           math.nan]  # fmt: skip
    yield [RANDOM, "", "", False, len(best) / len(means), top - average, average - v, math.nan]


def _judge(scores: dict[str, float], result: dict, dead: tuple[str, ...]) -> list:
    """What follows the selector's name in a row of `choices`."""
    means, terms = result["means"], chosen.argmax(scores)
    rank = correlation(scores, means)
    if len(terms) != 1:
        return ["/".join(terms), FATES[0] if terms else FATES[1], False, *[math.nan] * 3, rank]
    (term,) = terms
    value = means.get(term, math.nan)
    fate = "" if term in means else FATES[2]
    hit = float(term in result["best"])
    regret, gain = max(means.values()) - value, value - means.get("v", math.nan)
    return [term, fate, term in dead, hit, regret, gain, rank]


def correlation(scores: dict[str, float], means: dict[str, float]) -> float:
    """Kendall's tau-b between scores and outcomes of the terms that have both.

    Undefined for fewer than two terms, and where all scores or all outcomes are equal.
    """
    both = [term for term in means if math.isfinite(scores.get(term, math.nan))]
    if len(both) < 2:
        return math.nan
    from scipy.stats import kendalltau  # its import takes longer than all that other commands do

    return float(kendalltau([scores[t] for t in both], [means[t] for t in both]).statistic)


@derived
def summary(frames: Frames, column: str = "best", apart: bool = True) -> pd.DataFrame:
    """Means over cells, with intervals: of all, and of each regime and model where several are.

    Args:
        column: as for `choices`.
        apart: whether each regime and model is summarised, too.

    Returns:
        One row per group and way to choose, with `SUMMARY`; metrics are fractions. Of the group:
        cells, ahead (those in which a term is ahead of the others) and clusters; of the way to
        choose: judged (cells with a hit or none) and regretted (those with a regret).
    """
    table, rows = choices(frames, column), []
    for group, model, regime, part in _groups(table, frames, apart):
        for selector in dict.fromkeys(part["selector"]):
            own = part[part["selector"] == selector]
            means = _means(own, group, selector)
            ahead = int(part.loc[part["selector"] == ORACLE, "hit"].notna().sum())
            rows.append([group, model, regime, selector, len(own), ahead, *means])
    return pd.DataFrame(rows, columns=SUMMARY)


def _groups(table: pd.DataFrame, frames: Frames, apart: bool) -> Iterator[tuple]:
    """Name of a group, its model and regime (empty: all of them), and its rows."""
    if len(table):
        yield "all cells", "", "", table
    for key in ("regime", "model") if apart else ():
        names = [name for name in grid.order(frames, key) if (table[key] == name).any()]
        for name in names if len(names) > 1 else []:
            model, regime = (name, "") if key == "model" else ("", name)
            yield f"{key} {name}", model, regime, table[table[key] == name]


def _means(rows: pd.DataFrame, group: str, selector: str) -> list:
    """What follows the selector's name in a row of `summary`."""
    fates = [int((rows["fate"] == fate).sum()) for fate in FATES]
    numbers: list[float] = []
    for name in MEANS:
        ends = interval(rows, name, f"{group}/{selector}/{name}")
        numbers += [float(rows[name].mean()), *ends]
    counts = [clusters(rows), *(int(rows[name].notna().sum()) for name in ("hit", "regret"))]
    counts += [*fates, int(rows["inert"].sum())]
    return [*counts, float(rows["regret"].max()), int(rows["correlation"].notna().sum()), *numbers]
