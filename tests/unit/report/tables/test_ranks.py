"""Ranks per layer: means by hand, and the same numbers as in the figure."""

import math

import numpy as np
import pandas as pd
import pytest
from support.frames_of import frames_of

from beft.report.analysis.ranks import mean_ranks
from beft.report.figures import registry
from beft.report.figures.style import style
from beft.report.frames.columns import COLUMNS
from beft.report.frames.schema import Frames
from beft.report.tables.ranks import ranks


def scores(ranked: dict[tuple[str, str], list[float]]) -> pd.DataFrame:
    """(term, layer) -> rank of each seed; NaN where the score is undefined."""
    rows = [
        ["m", "t", "low", seed, "projection", term, layer, math.nan if math.isnan(rank) else 1.0,
         rank, False]
        for (term, layer), given in ranked.items() for seed, rank in enumerate(given)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS["scores"])


def test_means_are_over_defined_scores() -> None:
    given = {("output", "0"): [4, 4], ("v", "10"): [1, 2], ("v", "mean"): [1, 1]}
    given |= {("v", "9"): [math.nan, 3], ("q", "0"): [math.nan, math.nan]}
    found = mean_ranks(scores(given)).set_index(["term", "layer"])
    assert list(found.index) == [
        ("q", "0"), ("v", "9"), ("v", "10"), ("v", "mean"), ("output", "0"),
    ]  # fmt: skip
    assert list(found["rank"].fillna(-1)) == [-1, 3, 1.5, 1, 4]
    assert list(found["n"]) == [0, 1, 2, 2, 2] and set(found["scores"]) == {2}


def test_table_and_figure_show_the_same(frames: Frames) -> None:
    """Every field of every heatmap, against the table's cell; undefined ones are masked there."""
    table = ranks(frames).tidy
    with style():
        drawn = registry.FIGURES["layers"](frames)
    grids = [np.ma.filled(p.images[0].get_array(), math.nan) for p in drawn.axes if p.images]
    wide = [
        part[part["layer"] != "mean"].pivot(index="term", columns="layer", values="rank")
        for _, part in table.groupby(["model", "selector"], sort=False)
    ]
    names = list(dict.fromkeys(table["term"]))
    expected = [w.reindex(names)[[str(i) for i in range(6)]].to_numpy(float) for w in wide]
    assert len(expected) == 6
    for values in expected:
        assert any(
            grid.shape == values.shape and np.allclose(grid, values, equal_nan=True)
            for grid in grids
        )


def test_overall_mean_and_gaps(frames: Frames) -> None:
    part = ranks(frames).parts[0]
    assert part.caption == "bert-base-cased, projection: 9 cells, 27 runs"
    assert part.columns[0] == "term" and part.columns[-2:] == ("all layers", "of the mean score")
    rows = {row[0].text: row[1:] for row in part.rows}
    assert list(rows)[:3] == ["q", "k", "v"]
    own = frames.scores[
        (frames.scores["model"] == "bert-base-cased") & (frames.scores["term"] == "v")
        & (frames.scores["selector"] == "projection") & (frames.scores["layer"] != "mean")
    ]  # fmt: skip
    # as many scores in each layer, so the mean of the layers' means is the mean of all
    assert rows["v"][-2].text == f"{own['rank'].mean():.1f}" and rows["v"][0].bold
    # conftest: undefined in layer 2, so a mean over the other layers would be of another model
    assert rows["attention_norm"][2].text == rows["attention_norm"][-2].text == "—"


@pytest.mark.parametrize("layer", ["0", "mean"])
def test_no_term_is_best_while_one_has_no_rank(layer) -> None:
    given = {(t, x): [i] for i, t in enumerate("qkv", 1) for x in ("0", "mean")}
    given["k", layer] = [math.nan]
    runs = pd.DataFrame([["s", "m", "t", "low"]], columns=["study", "model", "task", "regime"])
    part = ranks(frames_of({}, scores=scores(given), runs=runs)).parts[0]
    column = part.columns.index("0" if layer == "0" else "of the mean score")
    assert not any(row[column].bold for row in part.rows)
