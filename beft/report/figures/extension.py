"""Figure `extension` (section 3.4): metric above, score below, for each task and learning rate."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from beft.report.analysis import extension as facts
from beft.report.figures.style import blank, explain, footnote, handle, literal, look, sheet
from beft.report.frames.schema import Frames

MOST = 6  # rows: two printed pages


def draw(frames: Frames) -> Figure:
    """Two panels, metric and score over epochs, for each model and task (rows) and rate (columns).

    Only runs that are ok are drawn, so that a mean is over the same runs at every epoch.
    """
    places: dict[tuple, list[facts.Setting]] = {}
    for setting in facts.settings(frames):
        places.setdefault(setting.place, []).append(setting)
    if not places:
        return blank("No run of all biases in this study: no scores to lay beside the metric.")
    left_out = len(places) - MOST
    rows = list(places.values())[:MOST]
    columns = max(map(len, rows))
    figure, axes = sheet(2 * len(rows), columns, 1.0 + 2.3 * len(rows), sharey="row")
    many = len({place[0] for place in places}) > 1
    for row, own in enumerate(rows):
        above, below = axes[2 * row], axes[2 * row + 1]
        for column in range(columns):
            if column >= len(own):
                above[column].set_axis_off()
                below[column].set_axis_off()
                continue
            _pair(above[column], below[column], own[column])
            above[column].set_title(_title(own[column], many, columns), fontsize=9)
        metric = "".join(own[0].frames.runs["metric"].dropna().iloc[:1]) or "metric"
        above[0].set_ylabel(f"{literal(metric, 12)} (%)")
        below[0].set_ylabel("score")
    handles = [handle(technique) for technique in facts.TECHNIQUES]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    notes = [
        "Means over the seeds that are ok; band: sample deviation. Below: projection score of each "
        "term after the same epoch of all biases."
    ]
    if left_out > 0:
        notes.append(f"Models and tasks left out: {left_out}; all are in tables/extension.csv.")
    footnote(figure, notes)
    return figure


def _title(setting: facts.Setting, many: bool, columns: int) -> str:
    """Where and at which rate, in as many characters as a panel has room for."""
    (model, task, regime), rate = setting.place, f"rate {setting.learning_rate:g}"
    room = 105 // columns - len(rate) - len(regime) - 6
    own = literal(task, room // 2 if many else room)
    named = [literal(model, room - len(own) - 3)] if many else []
    return " · ".join([*named, own, regime, rate])


def _pair(above: Axes, below: Axes, setting: facts.Setting) -> None:
    table = setting.epochs
    for technique in facts.TECHNIQUES:
        if f"mean {technique}" in table:
            _curve(above, technique, table[f"mean {technique}"], table[f"std {technique}"])
    for term in facts.TERMS:
        if f"score {term}" in table:
            _curve(below, f"b_{term}", table[f"score {term}"] / 100)
    for panel, words in ((above, "no finished run"), (below, "no scores")):
        if not panel.lines:
            explain(panel, words)
            continue
        panel.set_xlim(-0.02 * setting.length, 1.04 * setting.length)
        panel.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        panel.yaxis.set_major_locator(MaxNLocator(4))
    above.tick_params(labelbottom=False)
    below.set_xlabel("epoch")


def _curve(panel: Axes, technique: str, means: pd.Series, spread: pd.Series | None = None) -> None:
    """One line over the epochs, in percent, with a band where a deviation is given."""
    means, style = 100 * means.dropna().astype(float), look(technique)
    if means.empty:
        return
    every, epochs = max(1, len(means) // 5), means.index.astype(float)
    panel.plot(epochs, means, color=style.colour, linestyle=style.line, marker=style.marker,
               markersize=3.6, markevery=every)  # fmt: skip
    if spread is not None:
        apart = 100 * spread.astype(float).reindex(means.index).fillna(0)
        panel.fill_between(epochs, means - apart, means + apart, color=style.colour,
                           alpha=0.16, linewidth=0)  # fmt: skip
