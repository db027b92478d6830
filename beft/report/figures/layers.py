"""Heatmaps of each selector: the importance rank of every bias term in every layer."""

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from beft.report.analysis import cells as grid
from beft.report.analysis import selection as chosen
from beft.report.analysis.ranks import mean_ranks
from beft.report.figures.style import blank, footnote, literal, sheet
from beft.report.frames.schema import Frames

# dark is important; falls steadily in grey, so a grey print reads the same
COLOURS = "Blues_r"
COLUMNS = 2


def layers(frames: Frames) -> Figure:
    """One heatmap per model and selector: terms down, layers across, mean rank in each field.

    The rank, not the score: selectors have scales of their own, and terms have different widths.
    """
    scores = frames.scores[frames.scores["layer"].astype(str) != "mean"]
    panels = _slots(frames, scores)
    if not panels:
        return blank("No scores per layer yet: no selector was computed in this study.")
    terms = _terms(scores)
    rows = len(panels) // COLUMNS
    figure, axes = sheet(rows, COLUMNS, rows * (0.5 + 0.18 * len(terms)) + 1.1)
    undefined = False
    for panel, slot in zip(axes.flat, panels, strict=True):
        if slot is None:
            panel.set_axis_off()
            continue
        part = scores[(scores["model"] == slot[0]) & (scores["selector"] == slot[1])]
        known = set(scores.loc[scores["model"] == slot[0], "term"])  # that the model has
        image = _heatmap(panel, part, [term for term in terms if term in known], len(terms))
        undefined = undefined or bool(np.ma.getmaskarray(image.get_array()).any())
        panel.set_title(f"{literal(slot[0], 28)} · {literal(slot[1], 20)}")
    for panel, slot in zip(axes[-1], panels[-COLUMNS:], strict=True):
        if slot is not None:
            panel.set_xlabel("layer")
    bar = figure.colorbar(image, ax=axes, location="bottom", shrink=0.4, aspect=32, pad=0.02)
    bar.set_label("mean rank among the terms of the model (1 = most important)")
    bar.set_ticks(range(1, len(terms) + 1))
    bar.ax.invert_xaxis()
    bar.outline.set_visible(False)
    if undefined:
        hatch = Patch(facecolor="white", edgecolor="#888888", hatch="////")
        figure.legend([hatch], ["no defined score"], loc="outside upper right")
    footnote(figure, ["Ranks are averaged over tasks, regimes and seeds."])
    return figure


def _slots(frames: Frames, scores: pd.DataFrame) -> list[tuple[str, str] | None]:
    """What each panel shows, row by row: two models side by side, else one model after another."""
    found = set(scores[["model", "selector"]].drop_duplicates().itertuples(index=False, name=None))
    models = [m for m in grid.order(frames, "model") if any(m == model for model, _ in found)]
    names = chosen.selectors(frames)
    if len(models) == COLUMNS:
        pairs = [(model, name) for name in names for model in models]
        return [pair if pair in found else None for pair in pairs]
    slots: list[tuple[str, str] | None] = []
    for model in models:
        slots += [(model, name) for name in names if (model, name) in found]
        slots += [None] * (-len(slots) % COLUMNS)
    return slots


def _terms(scores: pd.DataFrame) -> list[str]:
    first = [term for term in chosen.TERMS if (scores["term"] == term).any()]
    return first + [term for term in scores["term"].unique() if term not in first]


def _heatmap(panel: Axes, part: pd.DataFrame, terms: list[str], most: int):
    means = mean_ranks(part).astype({"layer": int})
    wide = means.pivot(index="term", columns="layer", values="rank")
    wide = wide.reindex(index=terms, columns=range(means["layer"].max() + 1))
    values = wide.to_numpy(float)
    image = panel.imshow(
        np.ma.masked_invalid(values), cmap=COLOURS, vmin=1, vmax=most, aspect="auto"
    )
    panel.grid(False)
    panel.patch.set(hatch="////", edgecolor="#888888", facecolor="white")
    flat = part.groupby("term")["inert"].all()
    labels = [literal(term, 18) + (" (inert)" if flat.get(term, False) else "") for term in terms]
    panel.set_yticks(range(len(terms)), labels)
    count = values.shape[1]
    step = 1 if count <= 16 else 2 if count <= 32 else 8
    panel.set_xticks(range(0, count, step))
    panel.tick_params(length=0)
    for spine in panel.spines.values():
        spine.set_visible(False)
    if count <= 12:
        _annotate(panel, values, image)
    return image


def _annotate(panel: Axes, values: np.ndarray, image) -> None:
    """Write the rank into each field, in black or white, whichever stands out."""
    for (row, column), value in np.ndenumerate(values):
        if math.isfinite(value):
            digits = f"{value:.0f}" if values.shape[1] > 8 else f"{value:.1f}"
            ink = _ink(image.cmap(image.norm(value)))
            text = panel.text(
                column, row, digits, ha="center", va="center", color=ink, fontsize=8.5
            )
            text.set_in_layout(False)  # it lies inside the panel; measuring it would take long


def _ink(colour: tuple[float, ...]) -> str:
    """Black or white, whichever has the higher contrast (relative luminance of WCAG 2)."""
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in colour[:3]]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "white" if 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05 else "black"
