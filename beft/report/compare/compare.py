"""Find what differs between two reports: cells, runs, choices, settings, provenance."""

import json
from dataclasses import dataclass

import pandas as pd

from beft.errors import one_line
from beft.report.analysis import cells as grid
from beft.report.analysis import selection as chosen
from beft.report.compare.cells import compare_cells
from beft.report.compare.revisions import Reports
from beft.report.compare.runs import compare_runs
from beft.report.frames.columns import CELL, COLUMNS, MACHINE
from beft.report.frames.schema import Frames


@dataclass(frozen=True)
class Comparison:
    """What differs between reports A and B.

    Attributes:
        cells: one row per cell of either: `ROW`, verdict (`VERDICTS`), before and after
            (fractions), change, the interval of each and what it is from (`bootstrap`, `seeds` or
            nothing), and what became of the runs that do not count.
        runs: one row per run that is another one: `RUN`, finding (`status`, `settings`, `number`,
            `only in A`, `only in B`), before, after.
        choices: one row per place and selector (or `best term`) that flipped: before, after.
        settings: one row per setting of the study that differs: key, before, after.
        circumstances: one row per fact of provenance that differs: key, before, after.
        frames: names of the frames that are not the same to the last digit.
    """

    first: Reports
    second: Reports
    epoch: str
    cells: pd.DataFrame
    runs: pd.DataFrame
    choices: pd.DataFrame
    settings: pd.DataFrame
    circumstances: pd.DataFrame
    frames: tuple[str, ...]


def compare(first: Reports, second: Reports, epoch: str = "best") -> Comparison:
    """Two reports, each in the place that a study's tables give to a run.

    Args:
        epoch: `best` or `last`, the epoch that a run's number is taken from.
    """
    a, b = first.frames, second.frames
    settings = changes(a.settings, b.settings)
    return Comparison(
        first,
        second,
        epoch,
        cells=compare_cells(grid.shown(a), grid.shown(b), epoch),
        runs=compare_runs(a, b, epoch, settings),
        choices=compare_choices(grid.shown(a), grid.shown(b), epoch),
        settings=_rows(["key", "before", "after"], settings),
        circumstances=compare_circumstances(a.provenance, b.provenance),
        frames=tuple(n for n in COLUMNS if not getattr(a, n).equals(getattr(b, n))),
    )


def compare_choices(first: Frames, second: Frames, epoch: str) -> pd.DataFrame:
    """The places in both where a selector chose another term, or another term came out best."""
    tables = [chosen.selection(frames, epoch) for frames in (first, second)]
    key = [*CELL, "selector"]
    both = tables[0].merge(tables[1], "inner", key, suffixes=("_a", "_b"))
    rows, seen = [], set()
    for row in both.to_dict("records"):
        place = tuple(row[name] for name in CELL)
        best = [row[f"best_{s}"] or f"undecided: {row[f'reason_{s}']}" for s in "ab"]
        if place not in seen and row["best_a"] != row["best_b"]:
            rows.append([*place, "best term", *best])
        seen.add(place)
        picks = [row[f"tie_{s}"] or row[f"selected_{s}"] or "no score" for s in "ab"]
        if picks[0] != picks[1]:
            rows.append([*place, row["selector"], *picks])
    rows.sort(key=lambda row: row[3] != "best term")
    return _rows([*key, "before", "after"], rows)


def compare_circumstances(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """What the runs of either were made with, where the two differ, and how many runs of each."""
    rows = []
    for name in MACHINE:
        counts = [
            frame[name].astype(object).fillna("unknown").astype(str).value_counts()
            for frame in (first, second)
        ]
        if set(counts[0].index) != set(counts[1].index):
            rows.append((name, *(_counted(count) for count in counts)))
    return _rows(["key", "before", "after"], rows)


def _counted(counts: pd.Series) -> str:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{value} ({count} runs)" for value, count in ordered) or "no runs"


def changes(first: dict, second: dict, above: str = "") -> list[tuple[str, str, str]]:
    """The settings that differ, as dotted key, before and after; lists are values, in order."""
    found = []
    for key in sorted({*first, *second}):
        one, two = first.get(key), second.get(key)
        if isinstance(one, dict) and isinstance(two, dict):
            found += changes(one, two, f"{above}{key}.")
        elif one != two:
            found.append((f"{above}{key}", _value(first, key), _value(second, key)))
    return found


def _value(settings: dict, key: str) -> str:
    if key not in settings:
        return "absent"
    value = settings[key]
    return one_line(value if isinstance(value, str) else json.dumps(value))


def _rows(columns: list[str], rows: list) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=columns, dtype=object)
