"""A comparison for readers and programs: what matters most first, as any other table."""

import math
from collections.abc import Iterable
from textwrap import shorten

import pandas as pd
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from beft.report.analysis import cells as grid
from beft.report.compare.cells import VERDICTS
from beft.report.compare.compare import Comparison
from beft.report.frames.columns import CELL, KEYS
from beft.report.frames.schema import rows_of
from beft.report.tables.formats import plain
from beft.report.tables.table import DASH, Part, Shown, Table, name, percent

LONG = 160  # characters of a setting that readers see; the csv file has all
SHOWN_ROWS = 20  # of each part, on a terminal
SHOWN_PLACES = 3  # of runs that share what differs
BY_CHANCE = 0.0056  # P(two 95 % intervals of the same normal mean lie apart)
CELLS = {
    "status": "Cells of which other runs count",
    "beyond": "Cells that moved beyond their intervals",
    "moved": "Cells that moved, with nothing to judge it by",
    "within": "Cells that moved within their intervals",
    "only in A": "Cells only in A",
    "only in B": "Cells only in B",
}
RUNS = {
    "settings": "Runs of other settings",
    "number": "Runs of the same recipe with another number",
}
COUNTED = {
    "status": "of which other runs count", "beyond": "beyond their intervals",
    "moved": "moved without intervals", "within": "moved within their intervals",
    "only in A": "only in A", "only in B": "only in B", "same": "the same",
}  # fmt: skip


def headline(comparison: Comparison) -> str:
    """The whole of it in one line."""
    found = comparison.cells["verdict"].value_counts()
    counts = [f"{found[v]} {COUNTED[v]}" for v in VERDICTS if v in found]
    told = f"{len(comparison.cells)} cells: {', '.join(counts)}" if counts else "no cells"
    others = [
        f"{len(rows)} {words}"
        for rows, words in (
            (_of(comparison, "settings"), "runs of other settings"),
            (_of(comparison, "number"), "runs of the same recipe with another number"),
            (comparison.choices, "choices flipped"),
            (comparison.settings, "settings of the study differ"),
            (comparison.circumstances, "circumstances differ"),
        )
        if len(rows)
    ]
    if not others and not set(found.index) - {"same"}:
        told = f"nothing differs in {len(comparison.cells)} cells and "
        told += f"{len(comparison.second.frames.runs)} runs"
    return "; ".join([told, *others])


def as_table(comparison: Comparison) -> Table:
    """All of it as a table: a part for each kind of finding that there is."""
    runs = [("status", "Runs that came to another end"), *RUNS.items()]
    parts = [
        _cells_part(comparison, "status"),
        _runs_part(comparison, *runs[0]),
        *(_cells_part(comparison, v) for v in ("beyond", "moved")),
        _choices_part(comparison),
        *(_cells_part(comparison, v) for v in ("within", "only in A", "only in B")),
        *(_runs_part(comparison, *run) for run in runs[1:]),
        _part("Settings of the study", ("setting",), comparison.settings, ["key"]),
        _part("What the runs were made with", ("fact",), comparison.circumstances, ["key"]),
    ]
    title = f"A: {comparison.first.label}, B: {comparison.second.label}"
    filled = tuple(part for part in parts if part.rows)
    return Table("comparison", title, tuple(_notes(comparison)), filled, tidy(comparison))


def _of(comparison: Comparison, finding: str) -> pd.DataFrame:
    return comparison.runs[comparison.runs["finding"] == finding]


def _cells_part(comparison: Comparison, verdict: str) -> Part:
    rows = comparison.cells[comparison.cells["verdict"] == verdict]
    shown = tuple(
        (
            name(_cell(row)),
            _number(row.before, row.low_before, row.high_before, row.short_before),
            _number(row.after, row.low_after, row.high_after, row.short_after),
            Shown(f"{100 * row.change:+.2f}" if math.isfinite(row.change) else DASH),
        )
        for row in rows_of(rows)
    )
    return Part(CELLS[verdict], ("cell", "A", "B", "change"), 1, shown)


def _cell(row) -> str:
    return _place(row.model, grid.column_label(row.task, row.split), row.regime, row.technique)


def _place(*words: object) -> str:
    return " · ".join(map(str, words))


def _number(value: float, low: float, high: float, short: object) -> Shown:
    problem = short if isinstance(short, str) else ""
    if not math.isfinite(value):
        return Shown(DASH, problem=problem)
    interval = f"[{percent(low)}, {percent(high)}]" if math.isfinite(low) else ""
    return Shown(percent(value, 2), spread=interval, problem=problem)


def _runs_part(comparison: Comparison, finding: str, caption: str) -> Part:
    """Runs that share what differs on one line, with the first few of their places."""
    rows = _of(comparison, finding).to_dict("records")
    if finding == "number":
        return Part(caption, ("run", "A", "B", "change"), 1, tuple(map(_number_row, rows)))
    told: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        told.setdefault((row["before"], row["after"]), []).append(_run(row))
    shown = tuple(
        tuple(map(name, (_some(places), str(len(places)), before or DASH, after or DASH)))
        for (before, after), places in told.items()
    )
    return Part(caption, ("where", "runs", "A", "B"), 4, shown)


def _number_row(row: dict) -> tuple[Shown, ...]:
    a, b = (float("nan") if v is None else float(v) for v in (row["before"], row["after"]))
    change = f"{100 * (b - a):+.2f}" if math.isfinite(b - a) else DASH
    return (name(_run(row)), Shown(percent(a, 2)), Shown(percent(b, 2)), Shown(change))


def _run(row: dict) -> str:
    return _place(*(row[key] for key in KEYS), f"seed {row['seed']}")


def _some(places: list[str]) -> str:
    more = len(places) - SHOWN_PLACES
    return "; ".join(places[:SHOWN_PLACES]) + (f"; and {more} more" if more > 0 else "")


def _choices_part(comparison: Comparison) -> Part:
    caption = "Choices that flipped, and terms that came out best"
    return _part(caption, (*CELL, "whose"), comparison.choices, [*CELL, "selector"])


def _part(caption: str, names: tuple[str, ...], rows: pd.DataFrame, keys: list[str]) -> Part:
    words = rows[[*keys, "before", "after"]].astype(str).itertuples(index=False, name=None)
    shown = tuple(
        tuple(name(shorten(word, LONG, placeholder=" …")) for word in row) for row in words
    )
    return Part(caption, (*names, "A", "B"), len(keys) + 2, shown)


def _notes(comparison: Comparison) -> list[str]:
    verdicts = comparison.cells["verdict"].value_counts()
    notes = [
        f"{headline(comparison)}.",
        f"Percent, {grid.EXPLAINED[comparison.epoch]}; change: B - A in points; [ ]: 95 % interval."
        if set(verdicts.index) - {"same"}
        else "",
        _judgement(verdicts),
        f"{verdicts['moved']} cells have no interval in A or in B, neither in intervals.csv nor "
        "from several seeds: whether their change is more than noise cannot be said."
        if "moved" in verdicts
        else "",
        _elsewhere(comparison),
    ]
    for side, reports in (("A", comparison.first), ("B", comparison.second)):
        if reports.lacking:
            notes.append(f"{side} lacks {', '.join(reports.lacking)}: taken as empty.")
    return [note for note in notes if note]


def _judgement(verdicts: pd.Series) -> str:
    judged = int(verdicts.reindex(["beyond", "within"]).sum())
    if not judged:
        return ""
    return (
        "Beyond: the intervals of A and B have no point in common; of two reports of one and the "
        f"same thing {100 * BY_CHANCE:.1f} % of cells look so, here about "
        f"{BY_CHANCE * judged:.1f}. Within: they meet, which does not show that nothing changed. "
        "Where reports hold no interval it is Student's over the runs of several seeds."
    )


def _elsewhere(comparison: Comparison) -> str:
    if not comparison.frames:
        return "Every frame is the same to the last digit."
    return f"Files that differ: {', '.join(f'{name}.csv' for name in comparison.frames)}."


def tidy(comparison: Comparison) -> pd.DataFrame:
    """Every cell, also those that are the same, and every finding in one long frame."""
    cells = comparison.cells.assign(kind="cell", finding=comparison.cells["verdict"])
    runs = comparison.runs.assign(kind="run")
    choices = comparison.choices.assign(kind="choice", finding="flipped")
    settings = comparison.settings.assign(kind="setting", finding="differs")
    facts = comparison.circumstances.assign(kind="circumstance", finding="differs")
    first = ["kind", "finding", *KEYS, "split", "seed", "selector", "key"]
    parts = [part.astype(object) for part in (cells, runs, choices, settings, facts)]
    table = pd.concat(parts, ignore_index=True).drop(columns="verdict")
    return table[[*first, *(column for column in table if column not in first)]]


def show(table: Table, console: Console) -> None:
    """The first rows of each part, and the notes, on a terminal."""
    console.print(Text(table.title, style="bold"))
    for part in table.parts:
        view = RichTable(title=Text(part.caption), title_justify="left")
        for i, column in enumerate(part.columns):
            view.add_column(Text(column), justify="left" if i < part.leading else "right")
        for row in part.rows[:SHOWN_ROWS]:
            view.add_row(*_texts(row))
        console.print(view)
        if len(part.rows) > SHOWN_ROWS:
            more = len(part.rows) - SHOWN_ROWS
            console.print(f"and {more} more rows, which --to writes to a file")
    for note in table.notes:
        console.print(Text(note))


def _texts(row: Iterable[Shown]) -> list[Text]:
    return [Text(plain(cell)) for cell in row]
