"""Figures 1 and 4: importance rank of q, k and v per selector, beside the metric of each term."""

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from beft.report.analysis import cells as grid
from beft.report.analysis import selection as chosen
from beft.report.figures.style import blank, explain, footnote, handle, literal, look, sheet
from beft.report.frames.schema import Frames

SELECTORS = ("projection", "magnitude", "fisher")
ORDER = ("v", "q", "k")
Inert = dict[tuple[str, str, str], tuple[str, ...]]  # what `selection.inert` returns


def figure1(frames: Frames) -> Figure:
    """Figure 1: the first task of the first model that has scores."""
    return _ranks_and_metric(frames, 1)


def figure4(frames: Frames) -> Figure:
    """Figure 4: up to three tasks of the first model that has scores, one row each."""
    return _ranks_and_metric(frames, 3)


def drawn(frames: Frames, most: int) -> tuple[Frames, list[str]]:
    """The study of the first model that has scores, and the first of its tasks."""
    models, scored = grid.order(frames, "model"), set(frames.scores["model"])
    models = sorted(models, key=lambda model: model not in scored)[:1]
    frames = grid.of_models(frames, models)
    return frames, grid.order(frames, "task")[:most]


def _ranks_and_metric(frames: Frames, most: int) -> Figure:
    frames, tasks = drawn(frames, most)
    models = grid.order(frames, "model")
    if not models or not tasks:
        return blank("No model and task in this study yet: nothing was run.")
    regimes = grid.order(frames, "regime")
    height = 1.0 + 1.6 * len(tasks)
    figure, axes = sheet(len(tasks), 4, height)
    missing, terms = [], max(frames.scores["term"].nunique(), 3)
    means, dead = frames.scores[frames.scores["layer"] == "mean"], chosen.inert(frames)
    for row, task in zip(axes, tasks, strict=True):
        for panel, selector in zip(row, SELECTORS, strict=False):
            _rank_panel(panel, means, dead, (models[0], task, selector), regimes, terms)
            if task == tasks[0]:
                panel.set_title(f"{selector} rank")
        missing += _metric_panel(row[3], frames, dead, (models[0], task), regimes)
        row[0].set_ylabel(f"{literal(task, 16)}\nrank of {terms} terms")
    for panel in axes[:-1].flat:
        panel.tick_params(labelbottom=False)
    inert = any(key[0] == models[0] and key[1] in tasks for key in dead)
    _legend(figure, inert)
    notes = [f"Not complete: {'; '.join(missing)}."] if missing else []
    summary = f"{models[0]}: means over seeds; bars: sample deviation; rank 1: most important term."
    footnote(figure, [summary, *notes])
    return figure


def _regime_axis(panel: Axes, regimes: list[str]) -> None:
    crowded = sum(map(len, regimes)) >= 16
    panel.set_xticks(
        range(len(regimes)),
        [literal(regime, 12) for regime in regimes],
        rotation=35 if crowded else 0,
        ha="right" if crowded else "center",
    )
    panel.set_xlim(-0.45, len(regimes) - 0.55)
    panel.grid(axis="x", visible=False)


def _rank_panel(
    panel: Axes,
    scores: pd.DataFrame,
    dead: Inert,
    place: tuple[str, str, str],
    regimes: list[str],
    terms: int,
) -> None:
    model, task, selector = place
    scores = scores[
        (scores["model"] == model) & (scores["task"] == task) & (scores["selector"] == selector)
    ]
    means = scores.groupby(["term", "regime"])["rank"].mean()
    if means.notna().sum() == 0:
        explain(panel, f"no {selector} scores")
        return
    for shift, term in zip((0.0, -0.07, 0.07), ORDER, strict=True):
        ys = [float(means.get((term, regime), math.nan)) for regime in regimes]
        xs = [position + shift for position in range(len(regimes))]
        hollow = [term in dead.get((model, task, regime), ()) for regime in regimes]
        _line(panel, xs, ys, f"b_{term}", hollow)
    panel.set_ylim(terms + 0.5, 0.5)
    panel.set_yticks(range(1, terms + 1) if terms <= 8 else range(1, terms + 1, 2))
    _regime_axis(panel, regimes)


def _line(panel: Axes, xs: list, ys: list, technique: str, hollow: list[bool], bars=None) -> None:
    style = look(technique)
    panel.plot(xs, ys, color=style.colour, linestyle=style.line, zorder=2)
    for x, y, open_marker in zip(xs, ys, hollow, strict=True):
        face = "white" if open_marker else style.colour
        panel.plot(x, y, marker=style.marker, color=style.colour, markerfacecolor=face, zorder=3)
    if bars is not None:
        panel.errorbar(
            xs, ys, yerr=bars, fmt="none", ecolor=style.colour, elinewidth=1, capsize=2, zorder=2
        )


def _metric_panel(
    panel: Axes, frames: Frames, dead: Inert, place: tuple[str, str], regimes: list[str]
) -> list[str]:
    """Draw the metric of each term; return what could not be drawn, in words."""
    model, task = place
    split, names = (
        grid.first_split(frames, task),
        frames.runs[frames.runs["task"] == task]["metric"],
    )
    metric = next((str(name) for name in names if not pd.isna(name)), "metric")
    panel.set_title(f"{literal(metric, 14)} (%)")
    table, missing, drawn = grid.cells(frames), [], False
    for shift, term in zip((0.0, -0.07, 0.07), ORDER, strict=True):
        ys, bars = [], []
        for regime in regimes:
            cell = grid.at(table, model, task, regime, f"b_{term}", split)
            ys.append(math.nan if cell is None else 100 * float(cell["mean"]))
            spread = math.nan if cell is None else 100 * float(cell["std"])
            bars.append(0.0 if math.isnan(spread) else spread)
            if cell is not None and cell["short"]:
                missing.append(f"{task} {regime} b_{term} {cell['short']}")
        drawn = drawn or any(math.isfinite(y) for y in ys)
        hollow = [term in dead.get((model, task, regime), ()) for regime in regimes]
        xs = [position + shift for position in range(len(regimes))]
        _line(panel, xs, ys, f"b_{term}", hollow, bars)
    if not drawn:
        panel.clear()
        panel.set_title(f"{literal(metric, 14)} (%)")
        explain(panel, "no run of q, k or v has a result")
        return missing
    panel.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    _regime_axis(panel, regimes)
    return missing


def _legend(figure: Figure, inert: bool) -> None:
    handles = [handle(f"b_{term}") for term in ORDER]
    if inert:
        hollow = Line2D([], [], color="#333333", linestyle="", marker="^", markerfacecolor="white")
        hollow.set_label("hollow: inert (its gradient is zero)")
        handles.append(hollow)
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
