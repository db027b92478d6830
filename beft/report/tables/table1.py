"""Table 1: encoders, every technique's metric per task and data regime, and the paper's number."""

import math
from dataclasses import replace
from itertools import chain

import pandas as pd

from beft.report.analysis import cells as grid
from beft.report.analysis import published as paper
from beft.report.frames.schema import Frames, rows_of
from beft.report.tables.metric_cells import (
    AVERAGED,
    BIAS_TERMS,
    CHOSEN,
    GUESSING,
    INERT,
    LEADING,
    PAPER,
    TIDY,
    average,
    cell,
    facts,
    guesses,
    measure_notes,
)
from beft.report.tables.table import Part, Shown, Table, beside, name


def table1(frames: Frames, column: str = "best") -> Table:
    """Table 1 of the paper for this study's encoders.

    Args:
        column: `best` or `last`, the epoch that a run's number is taken from.
    """
    frames = grid.of_kind(frames, "encoder")
    tidy = facts(frames, column)
    labels = [(task, split) for task, names in grid.splits(frames).items() for split in names]
    parts = []
    for model in grid.order(frames, "model"):
        rows = tidy[tidy["model"] == model]
        if len(rows):
            parts.append(_part(str(model), rows, labels))
    title = "Metric (%) of each bias term and technique, per task and data regime"
    notes = tuple(_notes(tidy, column, frames))
    return Table("table1", title, notes, tuple(parts), tidy[TIDY].reset_index(drop=True))


def table1_last(frames: Frames) -> Table:
    """Table 1 from the last epoch of each run, which no validation set has chosen."""
    return replace(table1(frames, "last"), name="table1_last")


def _part(model: str, rows: pd.DataFrame, labels: list[tuple[str, str]]) -> Part:
    columns = ["regime", "technique", *(grid.column_label(*label) for label in labels), "Avg."]
    lines: dict[str, list[tuple[Shown, ...]]] = {}  # of each regime
    averages = _averages(rows, labels)
    for (regime, technique), part in grid.grouped(rows, ["regime", "technique"]).items():
        found = {(row.task, row.split): row for row in part}
        shown = [cell(found.get(label)) for label in labels]
        line = (name(regime), name(technique), *shown, averages[regime, technique])
        lines.setdefault(regime, []).append(line)
    for (regime,), part in grid.grouped(rows, ["regime"]).items():
        if known := guesses(part, labels):
            lines[regime].append((name(regime), name(GUESSING), *known))
    return Part(model, tuple(columns), 2, tuple(chain(*lines.values())))


def _averages(rows: pd.DataFrame, labels: list[tuple[str, str]]) -> dict[tuple[str, str], Shown]:
    """The average of each row beside the paper's, the best of the bias terms in bold."""
    means, shown = {}, {}
    theirs = _paper_averages(rows, labels)
    for key, part in grid.grouped(rows, ["regime", "technique"]).items():
        found = {(row.task, row.split): row for row in part}
        means[key], mean = average(found, labels)
        place, theirs_mean = (str(rows["model"].iloc[0]), "", *key), theirs.get(key, math.nan)
        shown[key] = replace(mean, paper=beside(theirs_mean, means[key]), place=place)
    for regime in dict.fromkeys(regime for regime, _ in means):
        if rows.loc[rows["regime"] == regime, "unbeaten"].all():
            continue
        terms = [(k, m) for k, m in means.items() if k[0] == regime and k[1] in BIAS_TERMS]
        best = grid.ties(terms)
        if len(best) == 1 and sum(map(math.isfinite, dict(terms).values())) > 1:
            shown[best[0]] = replace(shown[best[0]], bold=True)
    return shown


def _paper_averages(rows: pd.DataFrame, labels: list) -> dict[tuple[str, str], float]:
    """The paper's own averages, shown only where our columns are exactly the paper's."""
    table = paper.load()
    table = table[(table["table"] == "table1") & (table["model"] == rows["model"].iloc[0])]
    theirs = {(row.task, row.split) for row in rows_of(table) if row.task != paper.AVERAGE}
    same = set(labels) == theirs and rows["paper"].notna().any()
    averages = table[(table["task"] == paper.AVERAGE) & same]
    return {(row.regime, row.technique): row.value for row in rows_of(averages)}


def _notes(tidy: pd.DataFrame, column: str, frames: Frames) -> list[str]:
    notes = [
        *measure_notes(tidy, column, frames),
        "Bold: the best of the bias terms in its regime and column; none where the best are equal "
        "or nothing beats guessing.",
        LEADING if tidy["separated"].any() else "",
        CHOSEN if tidy["selected"].any() else "",
        f"{INERT} inert: the term's gradient is zero up to rounding, so tuning it trains the head "
        "only." if tidy["inert"].any() else "",
        f"{PAPER}, then ours minus it, in points."
        if tidy["paper"].notna().any() else "",
        AVERAGED,
    ]  # fmt: skip
    return [note for note in notes if note]
