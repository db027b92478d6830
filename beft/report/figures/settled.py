"""Figure `settled`: how early in training the choice of each selector is final."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from beft.report.analysis.settled import facts
from beft.report.figures.style import blank, footnote, literal, look, sheet
from beft.report.frames.schema import Frames

LOOKS = {"projection": "b_v", "projection_printed": "b_q", "magnitude": "b_k"}


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
