"""Intervals of means over cells that are not independent: a bootstrap of whole clusters."""

import math

import numpy as np
import pandas as pd

from beft.report.statistics.resampling import below

CLUSTER = ["model", "task"]  # regimes of one task share their rows, hence rise and fall together
LEAST = 3  # clusters: of fewer, no interval says anything
DRAWS = 2000
LEVEL = 0.95
SAID = (
    f"({LEVEL:.0%} interval, n): percentile bootstrap over cells, of which all of one model and "
    f"task are drawn together; a dash where there are fewer than {LEAST} of these."
)


def interval(rows: pd.DataFrame, column: str, name: str) -> tuple[float, float]:
    """Percentile interval of the mean of a column, clusters being drawn as a whole.

    Args:
        rows: one per cell, with `CLUSTER`; those without a value are left out.
        name: what the mean is of; the draws follow from it alone.

    Returns:
        Low and high; undefined where there are fewer than `LEAST` clusters.
    """
    known = rows.dropna(subset=[column])
    groups = known.groupby(CLUSTER, sort=True)[column].agg(["sum", "size"])
    if len(groups) < LEAST:
        return math.nan, math.nan
    totals, sizes = groups["sum"].to_numpy(float), groups["size"].to_numpy(float)
    drawn = below(len(groups), (DRAWS, len(groups)), "clusters", name)
    means = totals[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def clusters(rows: pd.DataFrame) -> int:
    """Count the clusters."""
    return len(rows[CLUSTER].drop_duplicates())
