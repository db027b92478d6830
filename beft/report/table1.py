"""Table 1: encoders, every technique's metric per task and data regime, and the paper's number."""

import math
from dataclasses import replace
from typing import Any

import pandas as pd

from beft.report import cells as grid
from beft.report import published as paper
from beft.report import selection as chosen
from beft.report.frames import Frames
from beft.report.table import DASH, Part, Shown, Table, name, percent

BIAS_TERMS = tuple(f"b_{term}" for term in chosen.TERMS)
SELECTED, INERT = "†", "°"
CHOSEN = f"{SELECTED} the term that the projection selector chose."
AVERAGED = "Avg.: the mean over the columns, given only where every planned run of the row counts."
TIDY = ["model", "regime", "technique", "task", "split", "metric", "mean", "std", "n"]
TIDY += ["planned", "paper", "paper_deviation", "paper_table", "selected", "best", "inert"]
TIDY += ["status", "reason"]


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
    notes = tuple(_notes(tidy, column))
    return Table("table1", title, notes, tuple(parts), tidy[TIDY].reset_index(drop=True))


def facts(frames: Frames, column: str = "best") -> pd.DataFrame:
    """The cells of the study in order of display, with the paper's numbers and all marks.

    Returns:
        `TIDY` and `short`; mean and std are fractions, paper and its deviation percent.
    """
    table = grid.cells(frames, column).reset_index(drop=True)
    for key in grid.KEYS:
        table[key] = pd.Categorical(table[key].astype(str), grid.order(frames, key))
    table = table.sort_values(["model", "regime", "technique", "task"], kind="stable")
    table[grid.KEYS] = table[grid.KEYS].astype(object)
    names = frames.runs.dropna(subset=["metric"]).drop_duplicates("task").set_index("task")
    table["metric"] = table["task"].map(names["metric"]).fillna("")
    return _with_best(_with_selector(_with_paper(table), frames))


def _with_paper(table: pd.DataFrame) -> pd.DataFrame:
    index, found = paper.lookup(), []
    for row in table.itertuples():
        theirs = index.get((row.model, row.task, row.split, row.regime, row.technique))
        same = theirs is not None and theirs.metric in ("", row.metric)
        found.append(theirs if same else None)
    return table.assign(
        paper=[x.value if x else math.nan for x in found],
        paper_deviation=[x.deviation if x else math.nan for x in found],
        paper_table=[x.table if x else "" for x in found],
    )


def _with_selector(table: pd.DataFrame, frames: Frames) -> pd.DataFrame:
    targets, flat = chosen.chosen(frames), chosen.inert(frames)
    selected, inert = [], []
    for row in table.itertuples():
        place = (row.model, row.task, row.regime)
        term = row.technique.removeprefix("b_") if row.technique in BIAS_TERMS else None
        selected.append(term is not None and targets.get((*place, "projection"), []) == [term])
        inert.append(term in flat.get(place, ()))
    return table.assign(selected=selected, inert=inert)


def _with_best(table: pd.DataFrame) -> pd.DataFrame:
    """Mark the best of the bias terms per place and split.

    Only where at least two can be compared and none lacks a result (terms left out on purpose do
    not count): a term that happens to be the only one that is done is not the best.
    """
    table = table.reset_index(drop=True).assign(best=False)
    terms = table[table["technique"].isin(BIAS_TERMS) & (table["status"] != "skipped")]
    for _, part in terms.groupby(["model", "regime", "task", "split"], sort=False):
        if len(part) > 1 and part["mean"].notna().all():
            table.loc[grid.ties(zip(part.index, part["mean"], strict=True)), "best"] = True
    return table


def _part(model: str, rows: pd.DataFrame, labels: list[tuple[str, str]]) -> Part:
    columns = ["regime", "technique", *(grid.column_label(*label) for label in labels), "Avg."]
    table, averages = [], _averages(rows, labels)
    for (regime, technique), part in grid.grouped(rows, ["regime", "technique"]).items():
        found = {(row.task, row.split): row for row in part}
        shown = [cell(found.get(label)) for label in labels]
        table.append((name(regime), name(technique), *shown, averages[regime, technique]))
    return Part(model, tuple(columns), 2, tuple(table))


def cell(row) -> Shown:
    """What a row of `facts` looks like; None is a cell that the study does not plan."""
    if row is None:
        return Shown(DASH, problem="not planned", reason="not part of this study")
    theirs = f"[{row.paper:.1f}]" if math.isfinite(row.paper) else ""
    marks = SELECTED * row.selected + INERT * row.inert
    if not row.n:
        return Shown(DASH, "", theirs, marks, row.short, row.reason)
    spread = f"± {percent(row.std)} " if math.isfinite(row.std) else ""
    spread += f"(n={row.n})"
    return Shown(percent(row.mean), spread, theirs, marks, row.short, row.reason, bool(row.best))


def _averages(rows: pd.DataFrame, labels: list[tuple[str, str]]) -> dict[tuple[str, str], Shown]:
    """The average of each row beside the paper's, the best of the bias terms in bold."""
    means, shown = {}, {}
    theirs = _paper_averages(rows, labels)
    for key, part in grid.grouped(rows, ["regime", "technique"]).items():
        found = {(row.task, row.split): row for row in part}
        means[key], mean = average(found, labels)
        shown[key] = replace(mean, paper=theirs.get(key, ""))
    for regime in dict.fromkeys(regime for regime, _ in means):
        terms = [(k, m) for k, m in means.items() if k[0] == regime and k[1] in BIAS_TERMS]
        for key in grid.ties(terms) if sum(map(math.isfinite, dict(terms).values())) > 1 else []:
            shown[key] = replace(shown[key], bold=True)
    return shown


def average(found: dict[tuple[str, str], Any], labels: list) -> tuple[float, Shown]:
    """The mean over the columns of a row where every planned run of it counts, else undefined."""
    gaps = [grid.column_label(*label) for label in labels if not _sound(found.get(label))]
    if gaps:
        listed = ", ".join(gaps) if len(gaps) <= 2 else f"{len(gaps)} columns"
        reason = f"no average: {', '.join(gaps)} incomplete"
        return math.nan, Shown(DASH, problem=f"{listed} incomplete", reason=reason)
    mean = sum(found[label].mean for label in labels) / len(labels)
    return mean, Shown(percent(mean))


def _sound(row) -> bool:
    return row is not None and row.status == "ok"


def _paper_averages(rows: pd.DataFrame, labels: list) -> dict[tuple[str, str], str]:
    """The paper's own averages, shown only where our columns are exactly the paper's."""
    table = paper.load()
    table = table[(table["table"] == "table1") & (table["model"] == rows["model"].iloc[0])]
    theirs = {(row.task, row.split) for row in table.itertuples() if row.task != paper.AVERAGE}
    same = set(labels) == theirs and rows["paper"].notna().any()
    averages = table[(table["task"] == paper.AVERAGE) & same]
    return {(row.regime, row.technique): f"[{row.value:.1f}]" for row in averages.itertuples()}


def measure_notes(tidy: pd.DataFrame, column: str) -> list[str]:
    """What a number is and in which metric, for a table made of `facts`."""
    names = tidy.drop_duplicates("task")
    metric = ", ".join(f"{row.task}: {row.metric}" for row in names.itertuples() if row.metric)
    optimistic = (
        " The epoch is chosen on the set that is reported, which is optimistic."
        if column == "best"
        else ""
    )
    return [
        f"Each number is the mean over seeds of the {grid.EXPLAINED[column]}, on the validation "
        f"set, ± sample deviation, n the number of runs that count.{optimistic}",
        f"Metrics: {metric}." if metric else "",
    ]


def _notes(tidy: pd.DataFrame, column: str) -> list[str]:
    notes = [
        *measure_notes(tidy, column),
        "Bold: the best of the bias terms in its regime and column.",
        CHOSEN if tidy["selected"].any() else "",
        f"{INERT} inert: the term's gradient is zero up to rounding, so tuning it trains the head "
        "only." if tidy["inert"].any() else "",
        "[ ] the paper's number for the same model, task, regime and technique."
        if tidy["paper"].notna().any() else "",
        AVERAGED,
    ]  # fmt: skip
    return [note for note in notes if note]
