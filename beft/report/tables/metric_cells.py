"""Cells of tables 1, 2, 4, 5 and 6: a metric, its interval, the paper's number, the marks."""

import math
from collections.abc import Iterable
from dataclasses import replace
from itertools import combinations

import pandas as pd

from beft.report.analysis import cells as grid
from beft.report.analysis import epochs, guessing, precision
from beft.report.analysis import published as paper
from beft.report.analysis import selection as chosen
from beft.report.frames.columns import CELL, KEYS
from beft.report.frames.schema import Frames, derived, groups_of, rows_of
from beft.report.tables.comparisons import verdicts
from beft.report.tables.table import DASH, Shown, beside, between, percent

BIAS_TERMS = tuple(f"b_{term}" for term in chosen.TERMS)
SELECTED, INERT, AHEAD, APART = "†", "°", "*", "≠"
LEADING = (
    f"{AHEAD} the best of the bias terms is ahead of each other one by more than chance explains "
    "(table comparisons, corrected); without it, bold says nothing about significance."
)
CHOSEN = f"{SELECTED} the term that the projection selector chose."
OTHER = f"{APART} computed in another precision than techniques beside it."
PAPER = (
    "paper: its number, of the best epoch on the reported set, for the same model, task, metric, "
    "regime and technique"
)
GUESSING = "guessing"  # the name of its row
AVERAGED = "Avg.: the mean over the columns, given only where every planned run of the row counts."
TIDY = ["model", "regime", "technique", "task", "split", "metric", "mean", "std", "n"]
TIDY += ["planned", "low", "high", "guessing", "unbeaten", "paper", "paper_deviation"]
TIDY += ["paper_table", "difference", "selected", "best", "separated", "inert", "precision"]
TIDY += ["apart", "status", "reason", "note"]


@derived
def facts(frames: Frames, column: str = "best") -> pd.DataFrame:
    """The cells of the study in order of display, with the paper's numbers and all marks.

    Returns:
        `TIDY` and `problem`; mean, std, low and high are fractions, paper, its deviation and the
        difference to it percent; note is about the interval.
    """
    table = grid.cells(frames, column).reset_index(drop=True)
    for key in KEYS:
        table[key] = pd.Categorical(table[key].astype(str), grid.order(frames, key))
    table = table.sort_values(["model", "regime", "technique", "task"], kind="stable")
    table[KEYS] = table[KEYS].astype(object)
    names = frames.runs.dropna(subset=["metric"]).drop_duplicates("task").set_index("task")
    table["metric"] = table["task"].map(names["metric"]).fillna("")
    table = _with_selector(_with_paper(_with_interval(table, frames, column)), frames)
    table = table.assign(unbeaten=guessing.is_unbeaten(table, frames, column))
    table = _with_best(table, verdicts(frames, column))
    apart = precision.apart(frames)
    keys = table[KEYS].itertuples(index=False, name=None)
    return table.assign(apart=[key in apart for key in keys])


def _with_interval(table: pd.DataFrame, frames: Frames, column: str) -> pd.DataFrame:
    keys = [*KEYS, "split"]
    found = frames.intervals[frames.intervals["epoch"] == column]
    found = found[[*keys, "low", "high", "note"]].astype({"low": float, "high": float})
    joined = table.merge(found, "left", keys)
    return joined.assign(note=joined["note"].fillna(""))


def _with_paper(table: pd.DataFrame) -> pd.DataFrame:
    index, found = paper.lookup(), []
    for row in rows_of(table):
        theirs = index.get((row.model, row.task, row.split, row.regime, row.technique))
        same = theirs is not None and theirs.metric in ("", row.metric)
        found.append(theirs if same else None)
    values = [x.value if x else math.nan for x in found]
    return table.assign(
        paper=values,
        difference=100 * table["mean"].astype(float) - values,
        paper_deviation=[
            math.nan if x is None or x.deviation is None else x.deviation for x in found
        ],
        paper_table=[x.table if x else "" for x in found],
    )


def _with_selector(table: pd.DataFrame, frames: Frames) -> pd.DataFrame:
    targets, flat = chosen.chosen(frames), chosen.inert(frames)
    selected, inert = [], []
    for row in rows_of(table):
        place = (row.model, row.task, row.regime)
        term = row.technique.removeprefix("b_") if row.technique in BIAS_TERMS else None
        selected.append(term is not None and targets.get((*place, "projection"), []) == [term])
        inert.append(term in flat.get(place, ()))
    return table.assign(selected=selected, inert=inert)


def _with_best(table: pd.DataFrame, better: dict[tuple, str]) -> pd.DataFrame:
    """Mark the best of the bias terms per place and split, and whether its lead is beyond chance.

    Only where at least two can be compared and none lacks a result (terms left out on purpose do
    not count): a term that happens to be the only one that is done is not the best. Nor are terms
    that are equal: then none is ahead. Where nothing beats guessing, no term is marked.

    Args:
        better: see `comparisons.verdicts`.
    """
    table = table.reset_index(drop=True).assign(best=False, separated=False)
    terms = table[table["technique"].isin(BIAS_TERMS) & (table["status"] != "skipped")]
    terms = terms[~terms["unbeaten"].astype(bool)]
    for place, part in groups_of(terms, [*CELL, "split"]):
        if len(part) > 1 and part["mean"].notna().all():
            best = grid.ties(zip(part.index, part["mean"], strict=True))
            if len(best) > 1:
                continue
            table.loc[best, "best"] = True
            names = part["technique"]
            leads = [better.get((*place, *sorted(pair))) for pair in combinations(names, 2)]
            ahead = leads.count(names[best[0]]) == len(part) - 1
            table.loc[best, "separated"] = ahead
    return table


def cell(row) -> Shown:
    """What a row of `facts` looks like; None is a cell that the study does not plan."""
    if row is None:
        return Shown(DASH, problem="not planned", reason="not part of this study")
    theirs = beside(row.paper, row.mean)
    marks = AHEAD * row.separated + SELECTED * row.selected + INERT * row.inert
    marks += APART * row.apart
    place = (row.model, row.task, row.regime, row.technique)
    if not row.n:
        return Shown(DASH, "", theirs, marks, row.problem, row.reason, place=place)
    spread = f"± {percent(row.std)} " if math.isfinite(row.std) else ""
    spread += f"(n={row.n}/{row.planned})"
    return Shown(
        percent(row.mean), spread, theirs, marks, row.problem, row.reason, bool(row.best),
        interval=between(row.low, row.high), place=place,
    )  # fmt: skip


def guesses(rows: Iterable, labels: list) -> list[Shown]:
    """The row `guessing` of a table behind its names: a cell for each column, and their average.

    Empty where nothing is known of guessing in any column.

    Args:
        rows: those of `facts` with the same model and regime.
    """
    known = {(row.task, row.split): row for row in rows if math.isfinite(row.guessing)}
    if not known:
        return []
    shown = [guess(known.get(label)) for label in labels]
    whole = all(label in known for label in labels)
    mean = sum(known[label].guessing for label in labels) / len(labels) if whole else math.nan
    return [*shown, Shown(percent(mean))]


def guess(row) -> Shown:
    """What guessing gives in the place of a row of `facts`, and whether nothing beats it."""
    if row is None:
        return Shown(DASH)
    shown = Shown(percent(row.guessing))
    if row.unbeaten:
        shown = replace(shown, problem="nothing beats it", reason=guessing.WORDS)
    return shown


def average(found: dict, labels: list) -> tuple[float, Shown]:
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


def measure_notes(tidy: pd.DataFrame, column: str, frames: Frames) -> list[str]:
    """What a number is and in which metric, for a table made of `facts`."""
    names = tidy.drop_duplicates("task")
    metric = ", ".join(f"{row.task}: {row.metric}" for row in rows_of(names) if row.metric)
    chosen_on = f" {epochs.chosen_epoch(frames)}" if column == "best" else ""
    apart = "apart" in tidy and tidy["apart"].any()
    return [
        f"Each number is the mean over seeds of the {grid.EXPLAINED[column]}, on the validation "
        f"set, ± sample deviation, n how many of the planned runs count.{chosen_on}",
        *interval_notes(tidy),
        f"Metrics: {metric}." if metric else "",
        *guessing_notes(tidy),
        OTHER if apart else "",
    ]


def guessing_notes(tidy: pd.DataFrame) -> list[str]:
    """What the row `guessing` says, and what it means that nothing beats it."""
    if not tidy["guessing"].notna().any():
        return []
    notes = [
        "guessing: always answering with the most frequent class of the training split, or with "
        "one value where targets are values (docs/statistics.md)."
    ]
    if tidy["unbeaten"].astype(bool).any():
        notes.append(f"nothing beats it: {guessing.WORDS}, so none is marked as the best.")
    return notes


def interval_notes(tidy: pd.DataFrame) -> list[str]:
    """What two numbers with `to` between them are, and what some of them lack."""
    said = tidy.loc[tidy["note"] != "", "note"].value_counts(sort=False)
    return [
        "a to b: 95 % bootstrap interval of the mean, runs and examples drawn again "
        "(docs/statistics.md)." if tidy["low"].notna().any() else "",
        *(f"Interval of {count} cell{'s' * (count > 1)}: {note}." for note, count in said.items()),
    ]  # fmt: skip
