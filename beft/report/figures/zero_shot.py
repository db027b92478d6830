"""Figure `zero_shot`: where tuning b_k changes nothing, it coincides with not tuning at all."""

import math
from itertools import product

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from beft.report.analysis import cells as grid
from beft.report.analysis import selection as chosen
from beft.report.figures.style import (
    COLUMN,
    blank,
    explain,
    footnote,
    incomplete,
    legend_of_markers,
    literal,
    look,
    sheet,
)
from beft.report.frames.columns import CELL
from beft.report.frames.schema import Frames

COMPARED = ("zero_shot", "b_k", "b_v")
SIZES = {"zero_shot": 9.0, "b_k": 4.5, "b_v": 5.5}  # points; a ring with b_k inside: the same value
MOST = 8  # models: a printed page
WHY = (
    "A key bias adds one number to all attention scores of a row, which softmax ignores: b_k is "
    "inert. With rotary positions that number depends on the position, and b_k is not."
)


def zero_shot(frames: Frames) -> Figure:
    """One panel per decoder, one line per task: zero-shot, b_k and b_v; the first regime."""
    frames = grid.of_kind(frames, "decoder")
    models = grid.order(frames, "model")
    if not models:
        return blank("No decoder in this study: nothing can be compared with zero-shot.", COLUMN)
    parts = [grid.first_regime(frames, model) for model in models[:MOST]]
    tasks = [grid.order(part, "task") for part in parts]
    heights = [0.5 + 0.19 * len(names) for names in tasks]
    figure, axes = sheet(len(parts), 1, 1.55 + sum(heights), COLUMN, height_ratios=heights)
    missing = []
    for panel, model, part, names in zip(axes[:, 0], models, parts, tasks, strict=False):
        missing += _panel(panel, model, part, names)
    axes[-1, 0].set_xlabel("metric of the task (%)")
    for technique, entry in zip(COMPARED, legend_of_markers(figure, list(COMPARED)), strict=True):
        entry.set_markersize(SIZES[technique])
        entry.set_markerfacecolor(_fill(technique))
    notes = incomplete(missing)
    notes += [f"Models left out: {len(models) - MOST}."] if len(models) > MOST else []
    footnote(figure, [WHY, *notes])
    return figure


def _panel(panel: Axes, model: str, frames: Frames, tasks: list[str]) -> list[str]:
    """Draw the tasks of a model; return what could not be drawn, in words."""
    table, missing = grid.cells(frames), []
    regime = grid.order(frames, "regime")[0]
    means = pd.DataFrame(math.nan, index=tasks, columns=list(COMPARED))
    for task, technique in product(tasks, COMPARED):
        split = grid.first_split(frames, task)
        cell = grid.at(table, model, task, regime, technique, split)
        if cell is not None:
            means.loc[task, technique] = 100 * float(cell["mean"])
            if cell["short"]:
                missing.append(f"{model} {task} {technique} {cell['short']}")
    panel.set_title(f"{literal(model, 24)}: {_inertness(frames)}", fontsize=9.5, loc="left")
    if not means.notna().any(axis=None):
        explain(panel, "no run of zero_shot, b_k or b_v has a result")
        return missing
    for technique in reversed(COMPARED):
        style = look(technique)
        panel.plot(
            means[technique], range(len(tasks)), linestyle="", marker=style.marker,
            color=style.colour, markersize=SIZES[technique],
            markerfacecolor=_fill(technique), zorder=3,
        )  # fmt: skip
    panel.set_yticks(range(len(tasks)), [literal(task, 16) for task in tasks])
    panel.set_ylim(len(tasks) - 0.4, -0.6)
    panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    return missing


def _fill(technique: str) -> str:
    return "none" if technique == "zero_shot" else look(technique).colour


def _inertness(frames: Frames) -> str:
    """Whether b_k is inert in the model, in words."""
    measured = set(frames.scores[CELL].itertuples(index=False, name=None))
    inert = sum("k" in terms for terms in chosen.inert(frames).values())
    if not measured:
        return "inertness not measured"
    if inert in (0, len(measured)):
        return "$b_k$ inert" if inert else "$b_k$ not inert"
    return f"$b_k$ inert in {inert} of {len(measured)} tasks"
