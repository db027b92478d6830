"""The numbers of the paper's tables, to stand beside ours where the settings are the same."""

from dataclasses import dataclass
from importlib import resources

import pandas as pd

from beft.report.frames.schema import rows_of

AVERAGE = "average"
# Table 2: percent of the parameters that are trained, and seconds on an NVIDIA Tesla T4.
COSTS = {
    "b_v": (0.01, 132.9),
    "random_uniform": (0.01, 659.6),
    "all_biases": (0.09, 144.9),
    "full": (100.0, 206.1),
}
ANGLE = 0.18, 79.5  # cosine and degrees between b_v of SST-2 and of RTE (section 4)


@dataclass(frozen=True)
class Published:
    """One number of the paper: its value and deviation in percent, and the table it stands in.

    `metric` is empty where the paper's settings do not name it."""

    table: str
    metric: str
    value: float
    deviation: float | None
    selected: bool | None


def load() -> pd.DataFrame:
    """Read published.csv.

    Returns:
        One row per published number with the columns table, model, task, regime, technique, split,
        value, deviation, selected and metric; `value` and `deviation` in percent. Text columns are
        empty strings where the paper says nothing. Rows stand in the order of the paper's tables;
        the task `average` is Table 1's own average over its columns.
    """
    with resources.files(__package__).joinpath("published.csv").open(encoding="utf-8") as handle:
        table = pd.read_csv(handle, dtype=str, keep_default_na=False)
    for column in ("value", "deviation"):
        table[column] = pd.to_numeric(table[column], errors="coerce")
    return table


def lookup(table: pd.DataFrame | None = None) -> dict[tuple[str, str, str, str, str], Published]:
    """Index the published numbers by (model, task, split, regime, technique).

    Where two tables of the paper give the same cell (Table 2 repeats one of Table 1), the first
    table wins. A regime is part of the key, so numbers without one (Table 3) match no cell.
    """
    table = load() if table is None else table
    found: dict[tuple[str, str, str, str, str], Published] = {}
    for row in rows_of(table[table["regime"] != ""]):
        key = (row.model, row.task, row.split, row.regime, row.technique)
        deviation = None if pd.isna(row.deviation) else float(row.deviation)
        selected = {"true": True, "false": False}.get(row.selected)
        found.setdefault(
            key, Published(row.table, row.metric, float(row.value), deviation, selected)
        )
    return found


def metrics(table: pd.DataFrame | None = None) -> dict[str, str]:
    """The metric each task is reported in, for the tasks whose metric the paper's settings name."""
    table = load() if table is None else table
    return {row.task: row.metric for row in rows_of(table) if row.metric}
