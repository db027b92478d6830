"""Table `ranks`: the importance rank of every bias term in each layer, per model and selector."""

import math

import pandas as pd

from beft.report.analysis import cells as grid
from beft.report.analysis import selection as chosen
from beft.report.analysis.ranks import MEAN, facts
from beft.report.frames.columns import CELL
from beft.report.frames.schema import Frames, groups_of
from beft.report.tables.table import DASH, Part, Shown, Table, name

NOTES = (
    "Mean over cells and seeds of the term's rank among all bias terms of the layer; 1 is the most "
    "important, ties share the better rank, an undefined score has none.",
    "all layers: the mean of the layers' numbers. of the mean score: the mean rank by the score "
    "that is averaged over layers, from which a selector chooses.",
    "Bold: the highest ranked of q, k and v.",
)


def ranks(frames: Frames) -> Table:
    """Mean rank of every term in every layer; the figure `layers` draws the same numbers."""
    tidy, parts = facts(frames), []
    for (model, selector), part in groups_of(tidy, ["model", "selector"]):
        layers = [layer for layer in dict.fromkeys(part["layer"]) if layer != MEAN]
        wide = part.pivot(index="term", columns="layer", values="rank")
        wide = wide.reindex(list(dict.fromkeys(part["term"])))
        wide.insert(0, "all", wide[layers].mean(axis=1, skipna=False))
        columns = [*layers, "all", *([MEAN] if MEAN in wide else [])]
        titles = ("term", *layers, "all layers", "of the mean score")[: len(columns) + 1]
        best = {column: _best(wide[column]) for column in columns}
        rows = [
            (name(str(term)), *(_cell(wide.loc[term, c], term in best[c]) for c in columns))
            for term in wide.index
        ]
        caption = f"{model}, {selector}: {_counted(frames, model, selector)}"
        parts.append(Part(caption, titles, 1, tuple(rows)))
    title = "Importance rank of every bias term per layer"
    return Table("ranks", title, NOTES if parts else (), tuple(parts), tidy)


def _best(column: pd.Series) -> list[str]:
    """The highest ranked of q, k and v; none where one of them has no rank."""
    found = [(t, -column[t]) for t in chosen.TERMS if t in column]
    return grid.ties(found) if all(math.isfinite(value) for _, value in found) else []


def _cell(value: float, bold: bool) -> Shown:
    return Shown(f"{value:.1f}" if math.isfinite(value) else DASH, bold=bold)


def _counted(frames: Frames, model: str, selector: str) -> str:
    scores = frames.scores
    own = scores[(scores["model"] == model) & (scores["selector"] == selector)]
    places, runs = (len(own[keys].drop_duplicates())
                    for keys in (CELL, [*CELL, "seed"]))  # fmt: skip
    return f"{places} {'cell' if places == 1 else 'cells'}, {runs} {'run' if runs == 1 else 'runs'}"
