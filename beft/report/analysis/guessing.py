"""Find what guessing gives in each cell, and the cells in which nothing beats it."""

import math

import pandas as pd

from beft.report.analysis import cells as grid
from beft.report.frames.columns import CELL, KEYS
from beft.report.frames.schema import Frames, derived, rows_of

SAME = 1e-6  # a fraction; ends of intervals are rounded to six digits
UNBEATEN = "nothing beats guessing"
WORDS = "no technique's mean is above guessing by more than its interval"
Place = tuple[str, str, str, str]  # model, task, regime, split


@derived
def rates(frames: Frames) -> dict[Place, float]:
    """What guessing gives, in the metric that the runs of a place report, where it is known."""
    known = grid.cells(frames).dropna(subset=["guessing"]).drop_duplicates([*CELL, "split"])
    return {(r.model, r.task, r.regime, r.split): float(r.guessing) for r in rows_of(known)}


@derived
def unbeaten(frames: Frames, column: str = "best") -> set[Place]:
    """The places in which no technique's mean is above guessing by more than its interval.

    A mean without an interval is above guessing where it is higher. The model as it was before
    training does not count as a technique.

    Args:
        column: `best` or `last`, the epoch that a run's number is taken from.
    """
    keys = [*KEYS, "split"]
    ends = frames.intervals[frames.intervals["epoch"] == column].drop_duplicates(keys)
    table = grid.cells(frames, column).reset_index(drop=True)
    table = table.merge(ends[[*keys, "low"]], "left", keys).astype({"low": float})
    table = table[(table["technique"] != grid.MEASUREMENT) & table["mean"].notna()]
    known = rates(frames)
    found: dict[Place, bool] = {}
    lows = table["low"].fillna(table["mean"])
    places = table[[*CELL, "split"]].itertuples(index=False, name=None)
    for place, low in zip(places, lows, strict=True):
        rate = known.get(place, math.nan)
        if math.isfinite(rate):
            found[place] = found.get(place, True) and low <= rate + SAME
    return {place for place, so_far in found.items() if so_far}


def is_unbeaten(table: pd.DataFrame, frames: Frames, column: str) -> list[bool]:
    """Of each row of a table of cells, whether nothing beats guessing in its place."""
    found = unbeaten(frames, column)
    return [p in found for p in table[[*CELL, "split"]].itertuples(index=False, name=None)]


def unbeaten_cells(frames: Frames, column: str = "best") -> set[tuple[str, str, str]]:
    """The (model, task, regime) that are `unbeaten` on the first split of their task."""
    found = unbeaten(frames, column)
    return {place[:3] for place in found if place[3] == grid.first_split(frames, place[1])}
