"""Learning curves: the metric of each technique after every epoch, per task and regime."""

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from beft.report.analysis import cells as grid
from beft.report.analysis import selection as chosen
from beft.report.figures.style import blank, explain, footnote, handle, literal, look, sheet
from beft.report.frames.columns import CELL, KEYS
from beft.report.frames.schema import Frames

MOST = 36  # panels: three printed pages; more would neither print nor be read


def curves(frames: Frames) -> Figure:
    """One panel per model, task and regime: mean over seeds per epoch, band: sample deviation.

    Only runs that are ok are drawn, so that a mean is over the same runs at every epoch.
    """
    table = _epochs(frames)
    runs = set(frames.runs[CELL].drop_duplicates().itertuples(index=False, name=None))
    planned = [place for place in chosen.places(frames) if place in runs]
    if table.empty:
        return blank("No learning curves yet: no run of this study has finished an epoch.")
    omitted, planned = len(planned[MOST:]), planned[:MOST]
    regimes = {place[2] for place in planned}
    columns = len(regimes) if 2 <= len(regimes) <= 4 else min(3, len(planned))
    rows = math.ceil(len(planned) / columns)
    figure, axes = sheet(rows, columns, 1.05 + 1.45 * rows)
    many = len({place[0] for place in planned}) > 1
    for panel, place in zip(axes.flat, planned, strict=False):
        _panel(panel, table, place, frames)
        panel.set_title(_title(place, many, columns), fontsize=9)
    _label_outside(axes, planned, frames)
    used = set(table["technique"])
    names = [name for name in grid.order(frames, "technique") if name in used]
    _legend(figure, names)
    notes = [
        "Mean over the seeds that are ok; band: sample deviation. What trains nothing is a level."
    ]
    if omitted:
        notes.append(f"Panels left out: {omitted}; every curve is in history.csv.")
    footnote(figure, notes)
    return figure


def drawn(frames: Frames) -> pd.DataFrame:
    """The numbers of the panels that `curves` draws: mean and std, per cell and epoch."""
    table, runs = _epochs(frames), set(frames.runs[CELL].itertuples(index=False, name=None))
    places = [place for place in chosen.places(frames) if place in runs][:MOST]
    return table[pd.MultiIndex.from_frame(table[CELL]).isin(places)].reset_index(drop=True)


def _title(place: tuple[str, str, str], many: bool, columns: int) -> str:
    """The place in as many characters as a panel has room for."""
    room = 105 // columns
    if not many:
        return f"{literal(place[1], room - 10)} · {literal(place[2], 8)}"
    task = min(len(place[1]), room // 3)
    model = literal(place[0], room - task - len(place[2]) - 6)
    return f"{model} · {literal(place[1], task)} · {literal(place[2], 8)}"


def _label_outside(axes: np.ndarray, planned: list[tuple], frames: Frames) -> None:
    """Name the metric at the left of a row and where it changes; epochs under each column."""
    named = (
        frames.runs.dropna(subset=["metric"]).drop_duplicates("task").set_index("task")["metric"]
    )
    columns, left = axes.shape[1], ""
    for place, panel in enumerate(axes.flat):
        if place >= len(planned):
            panel.set_axis_off()
            continue
        metric = str(named.get(planned[place][1], "metric"))
        if place % columns == 0 or metric != left:
            panel.set_ylabel(f"{literal(metric, 14)} (%)")
        left = metric
        if place + columns >= len(planned):
            panel.set_xlabel("epoch")


def _epochs(frames: Frames) -> pd.DataFrame:
    """Mean and deviation per place, technique and epoch, on the first split of each task."""
    runs = frames.runs[frames.runs["status"] == "ok"]
    rows = frames.history.merge(runs[[*KEYS, "digest"]], on="digest")
    rows = grid.of_first_split(frames, rows)
    keys = [*KEYS, "epoch"]
    return rows.groupby(keys, sort=True)["value"].agg(["mean", "std"]).reset_index()


def _panel(panel: Axes, table: pd.DataFrame, place: tuple[str, str, str], frames: Frames) -> None:
    model, task, regime = place
    here = table[(table["model"] == model) & (table["task"] == task) & (table["regime"] == regime)]
    if here.empty:
        explain(panel, "no finished run")
        return
    names = grid.order(frames, "technique")
    last = max(int(here["epoch"].max()), 1)
    for technique in names:
        line = here[here["technique"] == technique]
        if line.empty:
            continue
        style, means = look(technique, names), 100 * line["mean"]
        if len(line) == 1 and line["epoch"].iloc[0] == 0:
            panel.axhline(means.iloc[0], color=style.colour, linestyle=style.line)
            if style.marker:
                panel.plot(0, means.iloc[0], style.marker, color=style.colour, markersize=3.6)
            continue
        spread = 100 * line["std"].fillna(0)
        panel.fill_between(
            line["epoch"],
            means - spread,
            means + spread,
            color=style.colour,
            alpha=0.16,
            linewidth=0,
        )
        panel.plot(
            line["epoch"], means, color=style.colour, linestyle=style.line, marker=style.marker,
            markersize=3.6, markevery=max(1, last // 5),
        )  # fmt: skip
    panel.set_xlim(-0.02 * last, 1.04 * last)
    panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    panel.yaxis.set_major_locator(MaxNLocator(4))


def _legend(figure: Figure, names: list[str]) -> None:
    handles = [handle(name, names) for name in names]
    figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 6))
