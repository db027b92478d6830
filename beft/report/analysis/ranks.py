"""The mean importance rank of every bias term in every layer."""

import math
import re

import pandas as pd

from beft.report.analysis import cells as grid
from beft.report.analysis import selection as chosen
from beft.report.frames.schema import Frames

MEAN = "mean"
TIDY = ["model", "selector", "term", "layer", "rank", "least", "most", "n", "scores"]


def facts(frames: Frames) -> pd.DataFrame:
    """One row per model, selector, term and layer (the last of which is `mean`), with `TIDY`."""
    rows = []
    for model in grid.order(frames, "model"):
        for selector in chosen.selectors(frames):
            scores = frames.scores
            own = scores[(scores["model"] == model) & (scores["selector"] == selector)]
            rows += [[model, selector, *row] for row in mean_ranks(own).itertuples(index=False)]
    return pd.DataFrame(rows, columns=TIDY)


def mean_ranks(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean rank per term and layer of some scores, q, k and v first, the layer `mean` last.

    Returns:
        term, layer (text), rank (of the defined scores; undefined where there is none), least,
        most, n (defined scores) and scores (all).
    """
    layer = scores["layer"].astype(str)
    scores = scores.assign(layer=layer, rank=scores["rank"].where(scores["score"].notna()))
    groups = scores.groupby(["term", "layer"], sort=False)["rank"]
    table = groups.agg(rank="mean", least="min", most="max", n="count", scores="size").reset_index()
    terms = [*chosen.TERMS, *dict.fromkeys(t for t in table["term"] if t not in chosen.TERMS)]
    places = table["layer"].map(lambda x: int(x) if re.fullmatch(r"\d+", x) else math.inf)
    order = table["term"].map(terms.index)
    return (
        table.assign(_term=order, _layer=places)
        .sort_values(["_term", "_layer"], kind="stable")
        .drop(columns=["_term", "_layer"])
    )
