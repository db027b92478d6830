"""Table and figure `settled`: how early in training the choice of a selector no longer changes."""

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from beft.report.analysis import cells as grid
from beft.report.analysis import selection as chosen
from beft.report.figures.style import blank, footnote, literal, look, sheet
from beft.report.frames.columns import CELL
from beft.report.frames.schema import Frames
from beft.report.tables.table import DASH, Part, Shown, Table, name, percent

NONE = "no choice"  # where scores are undefined or equal
TIDY = [*CELL, "seed", "selector", "epochs", "first", "final", "settled_epoch", "settled"]
TIDY += ["cost", "reason"]
COLUMNS = ("selector", "runs", "cells", "first quartile", "median", "third quartile")
COLUMNS += ("settled after epoch 1", "cost of choosing then", "worst", "not counted")
LOOKS = {"projection": "b_v", "projection_printed": "b_q", "magnitude": "b_k"}


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


def facts(frames: Frames, column: str = "best") -> pd.DataFrame:
    """One row per run of `all_biases` and selector, with `TIDY`.

    Returns:
        settled: the epoch from which on the choice stays, as a share of the epochs, undefined
        where the final choice is, or where there is one epoch only; cost: the metric that the
        final choice has over the one after epoch 1, a fraction, negative where that was better.
    """
    where = frames.runs[[*CELL, "seed", "digest"]].drop_duplicates("digest")
    results = chosen.outcomes(frames, column)
    rows = []
    runs = where.merge(frames.trajectories, on="digest").groupby(["digest", "selector"], sort=False)
    for (_, selector), run in runs:
        *place, seed = run.iloc[0][[*CELL, "seed"]]
        means = results[tuple(place)]["means"]
        rows.append([*place, seed, selector, *_settle(run.sort_values("epoch"), means)])
    return pd.DataFrame(rows, columns=TIDY)


def _settle(run: pd.DataFrame, means: dict[str, float]) -> list:
    """What follows the selector's name in a row of `facts`, from the epochs of one run."""
    scores = run[list(chosen.TERMS)].to_numpy(float)
    picks = [chosen.argmax(dict(zip(chosen.TERMS, row, strict=True))) for row in scores]
    epochs = [int(epoch) for epoch in run["epoch"]]
    first, final = ("/".join(pick) or NONE for pick in (picks[0], picks[-1]))
    if len(picks[-1]) != 1:
        reason = "tie at the end" if picks[-1] else "scores undefined at the end"
        return [epochs[-1], first, final, math.nan, math.nan, math.nan, reason]
    if epochs[-1] < 2:
        return [epochs[-1], first, final, math.nan, math.nan, math.nan, "one epoch only"]
    since = len(picks)
    while since > 1 and picks[since - 2] == picks[-1]:
        since -= 1
    cost = math.nan
    if len(picks[0]) == 1:
        cost = means.get(final, math.nan) - means.get(first, math.nan)
    epoch = epochs[since - 1]
    return [epochs[-1], first, final, epoch, epoch / epochs[-1], cost, ""]


def _row(selector: str, rows: pd.DataFrame) -> tuple[Shown, ...]:
    known, cost = rows["settled"].dropna(), rows["cost"].dropna()
    quartiles = [known.quantile(q) if len(known) else math.nan for q in (0.25, 0.5, 0.75)]
    early = (rows.loc[known.index, "settled_epoch"] == 1).mean() if len(known) else math.nan
    lost = rows.loc[rows["settled"].isna(), "reason"].value_counts().sort_index()
    problem = ", ".join(f"{count} {reason}" for reason, count in lost.items())
    return (
        name(selector),
        Shown(str(len(known))),
        Shown(str(len(rows.loc[known.index, CELL].drop_duplicates()))),
        *(Shown(percent(value, 0)) for value in quartiles),
        Shown(percent(early, 0)),
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


def draw(frames: Frames) -> Figure:
    """Share of runs whose choice is final against the share of training that is over."""
    tidy = facts(frames)
    known = tidy.dropna(subset=["settled"])
    if known.empty:
        return blank("No choice after each epoch yet: no run of all biases with several epochs.")
    figure, axes = sheet(1, 1, 3.0, 4.6)
    panel: Axes = axes[0, 0]
    names = list(dict.fromkeys(known["selector"]))
    for selector in names:
        values = np.sort(100 * known.loc[known["selector"] == selector, "settled"].to_numpy(float))
        shares = 100 * np.arange(1, len(values) + 1) / len(values)
        style = look(LOOKS.get(selector, selector), names)
        label = f"{literal(selector, 24)} (n={len(values)})"
        panel.step([0, *values, 100], [0, *shares, 100], where="post", color=style.colour,
                   linestyle=style.line, label=label)  # fmt: skip
    panel.set_xlim(0, 100)
    panel.set_ylim(0, 103)
    panel.set_xlabel("training that is over (% of epochs)")
    panel.set_ylabel("runs whose choice is final (%)")
    panel.legend(loc="lower right")
    lost = len(tidy) - len(known)
    footnote(figure, [f"Not counted: {lost}; the table says why."] if lost else [])
    return figure
