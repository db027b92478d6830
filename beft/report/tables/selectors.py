"""Table `selectors`: how good the choices of each selector are, beside simple baselines."""

import math

import pandas as pd

from beft.report.analysis import cells as grid
from beft.report.analysis import epochs, judged
from beft.report.analysis import selection as chosen
from beft.report.frames.schema import Frames, groups_of, rows_of
from beft.report.statistics import clusters
from beft.report.tables.table import DASH, Part, Shown, Table, name

COLUMNS = (
    *("choice", "best term", "regret", "worst regret", "against always v"),
    *("rank correlation", "ties", "undefined", "no result", "inert"),
)


def selectors(frames: Frames, column: str = "best") -> Table:
    """How good each selector is, over the decided cells of the study.

    Args:
        column: `best` or `last`, the epoch that decides what came out best.
    """
    tidy = judged.summary(frames, column)
    parts = [
        Part(f"{group}: {counted(rows)}", COLUMNS, 1, tuple(map(_row, rows_of(rows))))
        for group, rows in groups_of(tidy, "group")
    ]
    notes = _notes(frames, column) if parts else ()
    return Table("selectors", "How good each selector is", tuple(notes), tuple(parts), tidy)


def counted(rows: pd.DataFrame) -> str:
    cells, groups = rows["cells"].iloc[0], rows["clusters"].iloc[0]
    pairs = "pair" if groups == 1 else "pairs"
    even = cells - rows["ahead"].iloc[0]
    none = f" ({chosen.NONE_AHEAD} in {even})" if even else ""
    return f"{cells} decided{none}, of {groups} {pairs} of model and task"


def _row(row) -> tuple[Shown, ...]:
    return (
        name(row.selector),
        mean(row.hit, row.hit_low, row.hit_high, row.judged, "{:.1f}", 100),
        mean(row.regret, row.regret_low, row.regret_high, row.regretted, "{:.2f}", 100),
        Shown(f"{100 * row.worst:.2f}" if math.isfinite(row.worst) else DASH),
        mean(row.gain, row.gain_low, row.gain_high, None, "{:+.2f}", 100),
        mean(row.correlation, row.correlation_low, row.correlation_high, row.correlated, "{:+.2f}"),
        *(Shown(str(n) if row.selector not in judged.BASELINES else DASH) for n in _counts(row)),
    )


def _counts(row) -> tuple[int, ...]:
    return row.ties, row.undefined, row.no_result, row.inert


def mean(
    value: float, low: float, high: float, n: int | None, form: str, scale: float = 1
) -> Shown:
    """A mean with its interval and the number of cells behind it."""
    if not math.isfinite(value):
        return Shown(DASH)
    ends = f"{form.format(scale * low)} to {form.format(scale * high)}"
    inside = [ends if math.isfinite(low) else DASH, *([f"n={n}"] if n is not None else [])]
    return Shown(form.format(scale * value), f"({', '.join(inside)})")


def in_words(frames: Frames, column: str = "best") -> dict[str, str]:
    """Of each selector, what its choices gave away and what they gained over v, in one phrase."""
    found = {}
    for row in rows_of(judged.summary(frames, column, apart=False)):
        lost = mean(row.regret, row.regret_low, row.regret_high, None, "{:.2f}", 100)
        more = mean(row.gain, row.gain_low, row.gain_high, None, "{:+.2f}", 100)
        found[row.selector] = (
            f"regret {lost.text} points {lost.spread}, against always v {more.text} {more.spread}"
        )
    return found


def _notes(frames: Frames, column: str) -> list[str]:
    chosen_on = f" {epochs.chosen_epoch(frames)}" if column == "best" else ""
    return [
        "A cell is a model, task and regime; its outcomes are the means over seeds of the "
        f"{grid.EXPLAINED[column]}, on the first validation set.{chosen_on} Cells in which a "
        "planned term has no result are not decided.",
        "Best term: share (%) of choices that came out best, over cells in which one term is "
        "ahead; where none is, as where none learned anything, no choice is a hit. Regret: the "
        "best term's mean minus that of the choice, in points. Against always v: the choice's mean "
        "minus that of v, cell by cell; above 0, selecting pays. Rank correlation: Kendall's tau-b "
        "between scores and outcomes of q, k and v, mean over the cells where it is defined.",
        clusters.SAID,
        "random: the expectation, exactly, of a term drawn from those with a result. oracle: "
        "whoever knows the outcome.",
        "Ties and undefined scores choose nothing and are left out; no result: the chosen term "
        "was not run or left out, which counts as not the best and has no regret; inert: choices "
        "of a term whose gradient is zero up to rounding.",
    ]
