"""Which cells of two reports differ, and whether by more than their intervals allow."""

import numpy as np
import pandas as pd
from scipy import stats

from beft.report.analysis import cells as grid
from beft.report.frames.columns import KEYS
from beft.report.frames.schema import Frames

ROW = [*KEYS, "split"]
VERDICTS = ("status", "beyond", "moved", "within", "only in A", "only in B", "same")
SAME = 1e-9  # a fraction: less is how sums round
LEVEL = 0.95


def compare_cells(first: Frames, second: Frames, epoch: str) -> pd.DataFrame:
    """The cells of both: what became of each, most important first, see `Comparison`.

    `status`: other runs do not count than before. `beyond`: the intervals of A and B have no point
    in common. `within`: the number differs, the intervals meet. `moved`: it differs, and one of the
    two has no interval: neither a bootstrap one nor runs of several seeds.
    """
    both = _cells(first, epoch).merge(
        _cells(second, epoch), "outer", ROW, suffixes=("_before", "_after"), indicator="where"
    )
    both = both.rename(columns={"mean_before": "before", "mean_after": "after"})
    both["change"] = both["after"] - both["before"]
    both["verdict"] = _verdicts(both)
    places = _places(both, first, second)
    size = both["change"].abs().fillna(0).round(12)
    ends = _share(both, "after") - _share(both, "before")  # the end of fewer runs comes first
    ends = ends.where(both["verdict"] == "status", 0).fillna(0)
    rank = both["verdict"].map(VERDICTS.index)
    order = sorted(range(len(both)), key=lambda i: (rank[i], ends[i], -size[i], places[i]))
    facts = ("low", "high", "basis", "short", "n", "planned")
    sides = [f"{fact}_{side}" for fact in facts for side in ("before", "after")]
    columns = [*ROW, "verdict", "before", "after", "change", *sides]
    return both.loc[order, columns].reset_index(drop=True)


def _share(both: pd.DataFrame, side: str) -> pd.Series:
    return both[f"n_{side}"] / both[f"planned_{side}"]


def _cells(frames: Frames, epoch: str) -> pd.DataFrame:
    """Each cell with its interval: the one of intervals.csv, else Student's over its runs."""
    table = grid.cells(frames, epoch).reset_index(drop=True)
    found = frames.intervals[frames.intervals["epoch"] == epoch].drop_duplicates(ROW)
    table = table.merge(found[[*ROW, "low", "high"]], "left", ROW)
    for column in ("mean", "std", "low", "high", "n", "planned"):
        table[column] = pd.to_numeric(table[column]).astype(float)
    few = table["n"] < 2
    quantile = stats.t.ppf((1 + LEVEL) / 2, np.maximum(table["n"] - 1, 1))
    half = (quantile * table["std"] / np.sqrt(np.maximum(table["n"], 1))).where(~few)
    known = table["low"].notna() & table["high"].notna() & table["mean"].notna()
    table["basis"] = np.where(known, "bootstrap", np.where(half.notna(), "seeds", ""))
    table["low"] = table["low"].where(known, table["mean"] - half)
    table["high"] = table["high"].where(known, table["mean"] + half)
    return table[[*ROW, "mean", "low", "high", "basis", "short", "n", "planned"]]


def _verdicts(both: pd.DataFrame) -> np.ndarray:
    apart = (both["low_after"] > both["high_before"]) | (both["high_after"] < both["low_before"])
    judged = both["low_before"].notna() & both["low_after"].notna()
    return np.select(
        [
            both["where"] == "left_only",
            both["where"] == "right_only",
            both["short_before"] != both["short_after"],
            both["change"].isna() | (both["change"].abs() <= SAME),
            judged & apart,
            judged,
        ],
        ["only in A", "only in B", "status", "same", "beyond", "within"],
        "moved",
    )


def _places(table: pd.DataFrame, first: Frames, second: Frames) -> list[tuple]:
    """Of each row the place in the order of display: B's names as B lists them, then A's."""
    ranks = {}
    for key in KEYS:
        names = dict.fromkeys([*grid.order(second, key), *grid.order(first, key)])
        ranks[key] = {name: i for i, name in enumerate(names)}
    rows = table[ROW].astype(str).itertuples(index=False, name=None)
    return [
        (*(ranks[key][name] for key, name in zip(KEYS, row, strict=False)), row[-1]) for row in rows
    ]
