"""Table and figure `selectors`: how good each selector is, beside v always, chance and the best."""

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from beft.report.analysis import cells as grid
from beft.report.analysis import judged
from beft.report.figures.style import blank, footnote, literal, sheet
from beft.report.frames.schema import Frames
from beft.report.statistics import clusters
from beft.report.tables.table import DASH, Part, Shown, Table, name

COLUMNS = ("choice", "best term", "regret", "worst regret", "against always v")
COLUMNS += ("rank correlation", "ties", "undefined", "no result", "inert")
PANELS = {
    "hit": "choice is the best term (%)",
    "regret": "regret (points)",
    "gain": "metric against always v (points)",
}
INK, PALE = "#0072B2", "#888888"


def selectors(frames: Frames, column: str = "best") -> Table:
    """How good each selector is, over the decided cells of the study.

    Args:
        column: `best` or `last`, the epoch that decides what came out best.
    """
    tidy = judged.summary(frames, column)
    parts = [
        Part(f"{group}: {_counted(rows)}", COLUMNS, 1, tuple(map(_row, rows.itertuples())))
        for group, rows in tidy.groupby("group", sort=False)
    ]
    notes = _notes(frames, column) if parts else ()
    return Table("selectors", "How good each selector is", tuple(notes), tuple(parts), tidy)


def _counted(rows: pd.DataFrame) -> str:
    cells, groups = rows["cells"].iloc[0], rows["clusters"].iloc[0]
    pairs = "pair" if groups == 1 else "pairs"
    return f"{cells} decided, of {groups} {pairs} of model and task"


def _row(row) -> tuple[Shown, ...]:
    regrets = row.judged - row.no_result if row.selector not in judged.BASELINES else row.judged
    return (
        name(row.selector),
        mean(row.hit, row.hit_low, row.hit_high, row.judged, "{:.1f}", 100),
        mean(row.regret, row.regret_low, row.regret_high, regrets, "{:.2f}", 100),
        Shown(f"{100 * row.worst:.2f}" if math.isfinite(row.worst) else DASH),
        mean(row.gain, row.gain_low, row.gain_high, None, "{:+.2f}", 100),
        mean(row.correlation, row.correlation_low, row.correlation_high, row.correlated, "{:+.2f}"),
        *(Shown(str(n) if row.selector not in judged.BASELINES else DASH) for n in _counts(row)),
    )


def _counts(row) -> tuple[int, ...]:
    return row.ties, row.undefined, row.no_result, row.inert


def mean(
    value: float, low: float, high: float, n: int | None, form: str, scale: float = 1
) -> Shown:
    """A mean with its interval and the number of cells behind it."""
    if not math.isfinite(value):
        return Shown(DASH)
    ends = f"{form.format(scale * low)} to {form.format(scale * high)}"
    inside = [ends if math.isfinite(low) else DASH, *([f"n={n}"] if n is not None else [])]
    return Shown(form.format(scale * value), f"({', '.join(inside)})")


def in_words(frames: Frames, column: str = "best") -> dict[str, str]:
    """Of each selector, what its choices gave away and what they gained over v, in one phrase."""
    found = {}
    for row in judged.summary(frames, column, apart=False).itertuples():
        lost = mean(row.regret, row.regret_low, row.regret_high, None, "{:.2f}", 100)
        more = mean(row.gain, row.gain_low, row.gain_high, None, "{:+.2f}", 100)
        found[row.selector] = (
            f"regret {lost.text} points {lost.spread}, against always v {more.text} {more.spread}"
        )
    return found


def _notes(frames: Frames, column: str) -> list[str]:
    chosen_on = f" {grid.chosen_epoch(frames)}" if column == "best" else ""
    return [
        "A cell is a model, task and regime; its outcomes are the means over seeds of the "
        f"{grid.EXPLAINED[column]}, on the first validation set.{chosen_on} Cells in which a "
        "planned term has no result are not decided.",
        "Best term: share (%) of choices that came out best. Regret: the best term's mean minus "
        "that of the choice, in points. Against always v: the choice's mean minus that of v, cell "
        "by cell; above 0, selecting pays. Rank correlation: Kendall's tau-b between scores and "
        "outcomes of q, k and v, mean over the cells where it is defined.",
        clusters.SAID,
        "random: the expectation, exactly, of a term drawn from those with a result. oracle: "
        "whoever knows the outcome.",
        "Ties and undefined scores choose nothing and are left out; no result: the chosen term "
        "was not run or left out, which counts as not the best and has no regret; inert: choices "
        "of a term whose gradient is zero up to rounding.",
    ]


def draw(frames: Frames) -> Figure:
    """Share of best choices, regret and distance to v, over all decided cells."""
    tidy = judged.summary(frames, apart=False)
    if tidy.empty:
        return blank("No decided cell yet: nothing to hold the selectors against.")
    tidy = tidy[tidy["selector"] != judged.ORACLE].iloc[::-1]
    figure, axes = sheet(1, len(PANELS), 1.3 + 0.26 * len(tidy), sharey=True)
    for panel, (column, title) in zip(axes[0], PANELS.items(), strict=True):
        _panel(panel, tidy, column)
        panel.set_xlabel(title)
    axes[0, 0].set_yticks(range(len(tidy)), [literal(s, 20) for s in tidy["selector"]])
    axes[0, 0].set_ylim(-0.6, len(tidy) - 0.4)
    axes[0, 0].set_xlim(-3, 103)
    first = tidy.iloc[0]
    note = f"{_counted(tidy)}; bars: 95 % bootstrap over these pairs"
    few = " (none: too few)" if first["clusters"] < clusters.LEAST else ""
    footnote(figure, [f"Cells: {note}{few}; cross: worst cell. Grey: what selects nothing."])
    return figure


def _panel(panel: Axes, tidy: pd.DataFrame, column: str) -> None:
    for place, row in enumerate(tidy.to_dict("records")):
        ink = PALE if row["selector"] in judged.BASELINES else INK
        value, low, high = (100 * row[f"{column}{end}"] for end in ("", "_low", "_high"))
        if math.isfinite(low):
            panel.plot([low, high], [place, place], color=ink, linewidth=1.6, zorder=2)
        face = "white" if ink == PALE else ink
        panel.plot(value, place, "o", color=ink, markerfacecolor=face, zorder=3)
        if column == "regret":
            panel.plot(100 * row["worst"], place, "x", color=ink, markersize=4.5, zorder=2)
    if column == "gain":
        panel.axvline(0, color="#444444", linewidth=0.8, zorder=1)
    panel.grid(axis="y", visible=False)
    if not np.isfinite(tidy[column].astype(float)).any():
        panel.text(0.5, 0.5, "no result of v", transform=panel.transAxes, ha="center")
