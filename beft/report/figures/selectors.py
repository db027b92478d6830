"""Figure `selectors`: how good the choices of each selector are, beside simple baselines."""

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from beft.report.analysis import judged
from beft.report.figures.style import blank, footnote, literal, sheet
from beft.report.frames.schema import Frames
from beft.report.statistics import clusters
from beft.report.tables.selectors import counted

PANELS = {
    "hit": "choice is the best term (%)",
    "regret": "regret (points)",
    "gain": "metric against always v (points)",
}
INK, PALE = "#0072B2", "#888888"


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
    note = f"{counted(tidy)}; bars: 95 % bootstrap over these pairs"
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
