"""Find the term that each selector chose and the term that came out best, and compare them."""

import math
from collections.abc import Iterable

import numpy as np
import pandas as pd

from beft.report.analysis import cells as grid
from beft.report.analysis import guessing
from beft.report.frames.columns import CELL
from beft.report.frames.schema import Frames, derived, groups_of, rows_of

TERMS = ("q", "k", "v")
SELECTORS = ("projection", "projection_printed", "magnitude", "fisher", "fisher_batch")
PRINTED = ("projection", "magnitude", "fisher")  # the selectors of the paper
COLUMNS = [*CELL, "selector", "selected", "tie", "selected_inert", "best", "agree", "decided"]
COLUMNS += ["lead", "seeds_won", "seeds", "inert_terms", "reason", "best_mean", "guessing"]
COLUMNS += ["unbeaten"]
NONE_AHEAD = "no term is ahead"  # the best ones are equal, as where no term learned anything
UNDECIDED = {"best": [], "lead": math.nan, "seeds_won": 0, "seeds": 0, "decided": False,
             "means": {}}  # fmt: skip


@derived
def places(frames: Frames) -> list[tuple[str, str, str]]:
    """Every (model, task, regime) with a run or a score, in order of display."""
    found = set(frames.runs[CELL].drop_duplicates().itertuples(index=False, name=None))
    found |= set(frames.scores[CELL].drop_duplicates().itertuples(index=False, name=None))
    ranks = [{name: i for i, name in enumerate(grid.order(frames, key))} for key in CELL]
    return sorted(
        found, key=lambda place: [r.get(x, 9999) for r, x in zip(ranks, place, strict=True)]
    )


@derived
def selectors(frames: Frames) -> list[str]:
    """The selectors that have scores, in the order of `SELECTORS`, others after them."""
    found = set(frames.scores["selector"].unique())
    return [s for s in SELECTORS if s in found] + sorted(found - set(SELECTORS))


@derived
def inert(frames: Frames) -> dict[tuple[str, str, str], tuple[str, ...]]:
    """The terms of each place whose gradient is zero up to rounding in every seed."""
    if frames.scores.empty:
        return {}
    every = frames.scores.groupby([*CELL, "term"], sort=True)["inert"].all()
    found: dict[tuple[str, str, str], tuple[str, ...]] = {}
    for row in rows_of(every.reset_index()):
        if row.inert:
            place = (row.model, row.task, row.regime)
            found[place] = (*found.get(place, ()), row.term)
    return found


@derived
def mean_scores(frames: Frames) -> dict[tuple[str, str, str, str], dict[str, float]]:
    """(model, task, regime, selector) -> of q, k and v, the seeds' mean of the mean score."""
    scores = frames.scores
    scores = scores[(scores["layer"].astype(str) == "mean") & scores["term"].isin(TERMS)]
    means = scores.groupby([*CELL, "selector", "term"])["score"].mean()
    found: dict[tuple[str, str, str, str], dict[str, float]] = {}
    for row in rows_of(means.reset_index()):
        key = (row.model, row.task, row.regime, row.selector)
        found.setdefault(key, {})[row.term] = float(row.score)
    return found


def argmax(scores: dict[str, float]) -> list[str]:
    """The terms with the highest score, in the order of `TERMS`; none where none is defined."""
    return sorted(grid.ties(scores.items()), key=TERMS.index)


def chosen(frames: Frames) -> dict[tuple[str, str, str, str], list[str]]:
    """The target of each selector: argmax over q, k, v of the seeds' mean of the mean score.

    Returns:
        (model, task, regime, selector) -> terms; more than one term is a tie, none means that no
        score is defined.
    """
    return {key: argmax(scores) for key, scores in mean_scores(frames).items()}


@derived
def outcomes(frames: Frames, column: str = "best") -> dict[tuple[str, str, str], dict]:
    """The term that came out best in each place, on the first split of its task.

    Returns:
        Per place: best (terms, several when equal), lead (mean over the runner-up, a fraction),
        means (term -> mean metric, of the terms with a result), seeds_won of seeds (seeds in which
        every compared term has a value), decided and a reason.
        A skipped inert term is not needed for a decision; any other term without a result is.
    """
    rows = grid.measured(frames, column)
    rows = rows[rows["technique"].isin([f"b_{term}" for term in TERMS])]
    rows = grid.of_first_split(frames, rows)
    result = {place: {**UNDECIDED, "reason": "no term was run"} for place in places(frames)}
    found: dict[tuple[str, str, str], list] = {}
    for row in rows_of(rows):
        found.setdefault((row.model, row.task, row.regime), []).append(row)
    return result | {place: _outcome(part) for place, part in found.items()}


def _outcome(rows: list) -> dict:
    """The outcome of one place, from its runs of the terms that are compared."""
    values: dict[str, dict[int, float]] = {}
    lost: dict[str, set[str]] = {}
    for row in rows:
        term = row.technique.removeprefix("b_")
        values.setdefault(term, {})[row.seed] = row.value
        if math.isnan(row.value):
            lost.setdefault(term, set()).add(row.status)
    means = [(term, _mean(values[term].values())) for term in TERMS if term in values]
    best = grid.ties(means)
    ordered = sorted((value for _, value in means if math.isfinite(value)), reverse=True)
    lacking = [t for t, v in means if not math.isfinite(v) and lost.get(t) != {"skipped"}]
    reason = f"{', '.join(lacking)} without a result" if lacking else ""
    if len(ordered) < 2:
        reason = reason or "fewer than two terms with results"
    if reason:
        return {**UNDECIDED, "reason": reason}
    compared = [term for term, value in means if math.isfinite(value)]
    seeds = [
        seed
        for seed in values[compared[0]]
        if all(math.isfinite(values[term].get(seed, math.nan)) for term in compared)
    ]
    won = sum(
        max(values[term][seed] for term in best) >= max(values[term][seed] for term in compared)
        for seed in seeds
    )
    return {
        "best": best, "lead": ordered[0] - ordered[1], "seeds_won": won, "seeds": len(seeds),
        "decided": True, "reason": "",
        "means": {term: value for term, value in means if math.isfinite(value)},
    }  # fmt: skip


def is_ahead(result: dict) -> bool:
    """Whether one term came out ahead of the others; of `outcomes`."""
    return len(result["best"]) == 1


def _mean(values: Iterable[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return float(np.mean(finite)) if finite else math.nan


@derived
def selection(frames: Frames, column: str = "best") -> pd.DataFrame:
    """One row per place and selector, with `COLUMNS`.

    `decided` says whether a choice can be right or wrong: it is empty in `agree` where terms lack a
    result, where the selector chose nothing, and where no term is ahead of the others. `best_mean`
    is the mean of the best term, `guessing` what guessing gives, and `unbeaten` says that nothing
    beats guessing.
    """
    targets, results, dead = chosen(frames), outcomes(frames, column), inert(frames)
    rates, unbeaten = guessing.rates(frames), guessing.unbeaten_cells(frames, column)
    names, rows = selectors(frames) or ["projection"], []
    for place in places(frames):
        result, flat = results[place], dead.get(place, ())
        at = (*place, grid.first_split(frames, place[1]))
        top = max(result["means"].values(), default=math.nan)
        for selector in names:
            terms = targets.get((*place, selector), [])
            term = terms[0] if terms else ""
            decided = is_ahead(result) and len(terms) == 1  # a tie has chosen nothing
            agree = result["best"] == terms if decided else None
            reason = result["reason"] or (_undecided(terms) if is_ahead(result) else NONE_AHEAD)
            rows.append(
                [*place, selector, term, "/".join(terms) if len(terms) > 1 else "", term in flat,
                 "/".join(result["best"]), agree, decided, result["lead"], result["seeds_won"],
                 result["seeds"], " ".join(flat), reason, top, rates.get(at, math.nan),
                 place in unbeaten]
            )  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def _undecided(terms: list[str]) -> str:
    """Why a selector's choice cannot be judged, if it cannot."""
    return ("no defined score", "")[len(terms)] if len(terms) < 2 else "tie of scores"


def agreement(table: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Per selector: how many choices came out best, of the decided ones, and of how many cells.

    `none_ahead` counts the cells with results in which no term is ahead; no choice is decided.
    """
    result = {}
    for selector, part in groups_of(table, "selector"):
        decided = part[part["decided"].astype(bool)]
        agree = int(sum(value is True for value in decided["agree"]))
        even = int(part["best"].str.contains("/").sum())
        counts = {"agree": agree, "decided": len(decided), "cells": len(part)}
        result[str(selector)] = {**counts, "none_ahead": even}
    return result
