"""Table `settled`: how early in training the choice of each selector is final."""

import math

import pandas as pd

from beft.report.analysis import cells as grid
from beft.report.analysis.settled import facts
from beft.report.frames.columns import CELL
from beft.report.frames.schema import Frames
from beft.report.tables.table import DASH, Part, Shown, Table, name, percent

COLUMNS = (
    *("selector", "runs", "cells", "first quartile", "median", "third quartile"),
    *("settled after epoch 1", "cost of choosing then", "worst", "not counted"),
)


def settled(frames: Frames, column: str = "best") -> Table:
    """The share of training after which the choice of each selector of snapshots is final.

    Args:
        column: `best` or `last`, the epoch that decides what a choice costs.
    """
    tidy, parts = facts(frames, column), []
    groups = [("all models", tidy)] if len(tidy) else []
    models = [m for m in grid.order(frames, "model") if (tidy["model"] == m).any()]
    if len(models) > 1:
        groups += [(f"model {model}", tidy[tidy["model"] == model]) for model in models]
    for caption, part in groups:
        rows = [_row(str(s), own) for s, own in part.groupby("selector", sort=False)]
        parts.append(Part(caption, COLUMNS, 1, tuple(rows)))
    title = "How early the choice of a selector is settled"
    return Table("settled", title, tuple(_notes(column) if parts else ()), tuple(parts), tidy)


def _row(selector: str, rows: pd.DataFrame) -> tuple[Shown, ...]:
    known, cost = rows["settled"].dropna(), rows["cost"].dropna()
    quartiles = [float(known.quantile(q)) if len(known) else math.nan for q in (0.25, 0.5, 0.75)]
    early = (rows.loc[known.index, "settled_epoch"] == 1).mean() if len(known) else math.nan
    lost = rows.loc[rows["settled"].isna(), "reason"].value_counts().sort_index()
    problem = ", ".join(f"{count} {reason}" for reason, count in lost.items())
    return (
        name(selector),
        Shown(str(len(known))),
        Shown(str(len(rows.loc[known.index, CELL].drop_duplicates()))),
        *(Shown(percent(value, 0)) for value in quartiles),
        Shown(percent(float(early), 0)),
        Shown(f"{100 * cost.mean():+.2f}" if len(cost) else DASH, f"(n={len(cost)})"),
        Shown(f"{100 * cost.max():+.2f}" if len(cost) else DASH),
        Shown(str(len(rows) - len(known)), problem=problem, reason=problem),
    )


def _notes(column: str) -> list[str]:
    return [
        "Each run of all_biases (a cell and seed) counts once. Settled: the epoch from which on "
        "the term with the highest mean score of q, k and v is that of the end, in % of all "
        "epochs; quartiles over runs. A choice that never changes is settled after epoch 1.",
        "Cost of choosing then: the mean metric of the term chosen at the end minus that of the "
        f"term chosen after epoch 1, in points, from the {grid.EXPLAINED[column]}, over runs "
        "where both have a result; below 0 the early choice was the better one.",
        "Not counted: runs of one epoch, and runs that end with equal or undefined scores. "
        "Fisher information is measured before training and has nothing to settle.",
    ]
