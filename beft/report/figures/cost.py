"""Figure `cost`: what a technique reaches against what it trains and how long it takes."""

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from beft.report.analysis import cells as grid
from beft.report.figures.style import (
    COLUMN,
    blank,
    explain,
    footnote,
    incomplete,
    legend_of_markers,
    legend_rows,
    literal,
    look,
    sheet,
)
from beft.report.frames.schema import Frames, rows_of

QUANTITIES = {"trainable_params": "trained parameters", "train_seconds": "seconds per run"}
MOST = 6  # models: a printed page


def cost(frames: Frames) -> Figure:
    """One row per model, one panel per quantity, one marker per technique; the first regime."""
    models = grid.order(frames, "model")
    parts = {model: grid.first_regime(frames, model) for model in models[:MOST]}
    tables = {model: techniques(part) for model, part in parts.items()}
    names = [
        name
        for name in grid.order(frames, "technique")
        if any(name in table.index for table, _ in tables.values())
    ]
    if not names:
        return blank("No result yet: nothing can be held against its cost.", COLUMN)
    height = 1.0 + 1.7 * len(tables) + 0.2 * legend_rows(names)
    figure, axes = sheet(len(tables), 2, height, COLUMN, sharey="row")
    for row, (model, (table, _)) in zip(axes, tables.items(), strict=True):
        for panel, quantity in zip(row, QUANTITIES, strict=True):
            _panel(panel, table, quantity, names)
        row[0].set_title(literal(model, 28), loc="left", fontsize=9.5)
        row[0].set_ylabel("metric (%)")
    for panel, words in zip(axes[-1], QUANTITIES.values(), strict=True):
        panel.set_xlabel(words)
    legend_of_markers(figure, names)
    footnote(figure, _notes(tables, parts, len(models[MOST:])))
    return figure


def techniques(frames: Frames) -> tuple[pd.DataFrame, list[str]]:
    """Means over the tasks in which every technique with a result has one.

    Returns:
        Per technique: metric (percent), trainable_params and train_seconds; and those tasks.
    """
    table = grid.cells(frames).reset_index(drop=True)
    table = grid.of_first_split(frames, table[table["technique"] != grid.MEASUREMENT])
    metric = table.pivot(index="technique", columns="task", values="mean").astype(float)
    metric = metric.dropna(how="all").dropna(axis="columns")
    tasks = [task for task in grid.order(frames, "task") if task in metric]
    runs = frames.runs[(frames.runs["status"] == "ok") & frames.runs["task"].isin(tasks)]
    runs = runs.astype(dict.fromkeys(QUANTITIES, float))
    means = runs.groupby(["technique", "task"])[list(QUANTITIES)].mean()
    costs = means.groupby("technique").mean().reindex(metric.index)
    return costs.assign(metric=100 * metric[tasks].mean(axis="columns")), tasks


def _panel(panel: Axes, table: pd.DataFrame, quantity: str, names: list[str]) -> None:
    table = table.dropna(subset=["metric", quantity])
    if table.empty:
        explain(panel, "no task in which all have a result")
        return
    zero = _decades(panel, table[quantity])
    for technique in [name for name in names if name in table.index]:
        style, value = look(technique, names), float(table[quantity][technique])
        panel.plot(
            math.log10(value) if value > 0 else zero, float(table["metric"][technique]),
            marker=style.marker, color=style.colour, markersize=6, zorder=3, clip_on=False,
        )  # fmt: skip
    panel.margins(y=0.12)
    panel.yaxis.set_major_locator(MaxNLocator(4, integer=True))


def _decades(panel: Axes, values: pd.Series) -> float:
    """Make x an axis of powers of ten, and return the place of zero, which is left of it."""
    logs = values[values > 0].map(math.log10)
    least = math.floor(logs.min()) if len(logs) else 0
    most = max(math.ceil(logs.max()) if len(logs) else 0, least + 1)
    pad = 0.06 * (most - least)
    zero, ticks = least - 4 * pad, range(least, most + 1, 1 + (most - least) // 4)
    labels = [rf"$10^{{{tick}}}$" for tick in ticks]
    if (values <= 0).any():
        panel.set_xticks([zero, *ticks], ["0", *labels])
        panel.axvline(least - 2 * pad, color="#888888", linewidth=0.8, linestyle=(0, (2, 2)))
        panel.set_xlim(zero - pad, most + pad)
    else:
        panel.set_xticks(list(ticks), labels)
        panel.set_xlim(least - pad, most + pad)
    return zero


def _notes(tables: dict, parts: dict[str, Frames], left_out: int) -> list[str]:
    averaged, gaps = [], []
    for model, (table, tasks) in tables.items():
        if not tasks:
            continue
        planned = grid.order(parts[model], "task")
        listed = ", ".join(tasks) if len(tasks) <= 3 else f"{len(tasks)} of {len(planned)} tasks"
        averaged.append(f"{literal(model, 28)}: {listed}")
        cells = grid.cells(parts[model])
        cells = cells[cells["task"].isin(tasks) & cells["technique"].isin(table.index)]
        lacking = cells[cells["short"] != ""]
        gaps += [f"{model} {c.task} {c.technique} {c.short}" for c in rows_of(lacking)]
    return [
        "Left of the dotted line: nothing is trained. Runs that share a process share its time, "
        "which includes evaluation.",
        *([f"Means over tasks. {'; '.join(averaged)}."] if averaged else []),
        *incomplete(gaps),
        *([f"Models left out: {left_out}."] if left_out else []),
    ]
