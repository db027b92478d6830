"""Table 4: b_v, b_q and b_k of every encoder and task in the smallest regime, and the paper's."""

import pandas as pd

from beft.report.analysis import cells as grid
from beft.report.frames.schema import Frames, rows_of
from beft.report.tables import metric_cells as first
from beft.report.tables.table import Part, Table, name

ORDER = ("b_v", "b_q", "b_k")  # as the paper lists them


def table4(frames: Frames, column: str = "best") -> Table:
    """Table 4 of the paper for this study's encoders.

    Args:
        column: `best` or `last`, the epoch that a run's number is taken from.
    """
    frames = grid.of_kind(frames, "encoder")
    own = [grid.first_regime(frames, model) for model in grid.order(frames, "model")]
    known = [first.facts(part, column) for part in own]
    tidy = pd.concat(known) if known else first.facts(frames, column)
    tidy = tidy[tidy["technique"].isin(ORDER)].reset_index(drop=True)
    there = set(tidy[["task", "split"]].itertuples(index=False, name=None))
    labels = [
        (task, split)
        for task, names in grid.splits(frames).items()
        for split in names
        if (task, split) in there
    ]
    rows = [
        row
        for model in dict.fromkeys(tidy["model"])
        for row in _rows(tidy[tidy["model"] == model], labels)
    ]
    columns = ("model", "technique", *(grid.column_label(*label) for label in labels))
    regimes = list(dict.fromkeys(tidy["regime"]))
    parts = (Part(f"regime {', '.join(regimes)}", columns, 2, tuple(rows)),) if rows else ()
    title = "Metric (%) of each bias term over models and tasks, in the smallest regime"
    notes = tuple(_notes(tidy, column, frames)) if rows else ()
    return Table("table4", title, notes, parts, tidy[first.TIDY])


def _rows(tidy: pd.DataFrame, labels: list[tuple[str, str]]) -> list[tuple]:
    """The rows of a model: its techniques as the paper lists them, then what guessing gives."""
    parts = [tidy[tidy["technique"] == technique] for technique in ORDER]
    rows = [_row(part, labels) for part in parts if len(part)]
    if known := first.guesses(rows_of(tidy), labels):
        rows.append((name(str(tidy["model"].iloc[0])), name(first.GUESSING), *known[:-1]))
    return rows


def _row(part: pd.DataFrame, labels: list[tuple[str, str]]) -> tuple:
    found = {(row.task, row.split): row for row in rows_of(part)}
    head = part.iloc[0]
    cells = (first.cell(found.get(label)) for label in labels)
    return (name(head["model"]), name(head["technique"]), *cells)


def _notes(tidy: pd.DataFrame, column: str, frames: Frames) -> list[str]:
    each = tidy.groupby("model", sort=False)["regime"].first()
    mixed = ", ".join(f"{model}: {regime}" for model, regime in each.items())
    notes = [
        *first.measure_notes(tidy, column, frames),
        f"Smallest regime of each model: {mixed}." if each.nunique() > 1 else "",
        "Bold: the best of the bias terms of a model in its column; none where the best are equal "
        "or nothing beats guessing.",
        first.CHOSEN if tidy["selected"].any() else "",
        f"{first.INERT} inert: the term's gradient is zero up to rounding, so tuning it trains "
        "the head only." if tidy["inert"].any() else "",
        first.LEADING if tidy["separated"].any() else "",
        f"{first.PAPER}, then ours minus it, in points."
        if tidy["paper"].notna().any() else "",
    ]  # fmt: skip
    return [note for note in notes if note]
