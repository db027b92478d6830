"""Table `comparisons`: the difference of two techniques, how sure it is, and a verdict in words."""

import math

import pandas as pd

from beft.report.analysis import cells as grid
from beft.report.analysis import precision
from beft.report.frames.columns import CELL
from beft.report.frames.schema import Frames, rows_of
from beft.report.tables.table import DASH, Part, Shown, Table, digits, name, points

ALPHA = 0.05  # of all comparisons of a study together
COLUMNS = (
    *("task", "regime", "first", "second", "difference", "95 % interval", "p runs"),
    *("p runs, corrected", "p examples", "p examples, corrected", "runs", "examples"),
    "verdict",
)
TIDY = ["epoch", "model", "regime", "task", "split", "first", "second", "difference"]
TIDY += ["low", "high", "runs", "examples", "p_runs", "p_runs_corrected", "p_examples"]
TIDY += ["p_examples_corrected", "family", "better", "verdict", "precision", "note"]
P_VALUES = [column for column in TIDY if column.startswith("p_")]
NUMBERS = ["difference", "low", "high", *P_VALUES]
UNTESTED, OPEN = "not tested", "not separated"


def comparisons(frames: Frames, column: str = "best") -> Table:
    """All comparisons of the study; the grids show one epoch, the long form both.

    Args:
        column: `best` or `last`, the epoch that the grids show.
    """
    tidy, parts = judged(frames), []
    for model in grid.order(frames, "model"):
        rows = tidy[(tidy["model"] == model) & (tidy["epoch"] == column)]
        if len(rows):
            parts.append(Part(str(model), COLUMNS, 4, tuple(map(_row, rows_of(rows)))))
    title = "Differences between techniques in points, and what is left of them beyond chance"
    notes = tuple(_notes(tidy, column))
    return Table("comparisons", title, notes, tuple(parts), digits(tidy, P_VALUES))


def judged(frames: Frames) -> pd.DataFrame:
    """The comparisons in order of display with a verdict.

    Returns:
        `TIDY`; difference, low and high are fractions; better is the technique that is ahead
        beyond chance, in several runs, or empty; precision says which runs had which, where they
        differ.
    """
    table = frames.comparisons.astype(dict.fromkeys(NUMBERS, float))
    ranks = {key: {place: i for i, place in enumerate(grid.order(frames, key))} for key in CELL}
    places = table[list(ranks)].itertuples(index=False, name=None)
    keys = [[ranks[k].get(x, math.inf) for k, x in zip(ranks, p, strict=True)] for p in places]
    order = sorted(range(len(table)), key=keys.__getitem__)
    table = table.iloc[order].reset_index(drop=True)
    said = [verdict(row) for row in rows_of(table)]
    table = table.assign(better=[b for b, _ in said], verdict=[words for _, words in said])
    known = precision.of_cells(frames)
    against = [
        precision.against(known, (*place, first), (*place, second))
        for *place, first, second in zip(
            *(table[k] for k in (*CELL, "first", "second")), strict=True
        )
    ]
    return table.assign(precision=against, note=table["note"].fillna(""))[TIDY]


def verdict(row) -> tuple[str, str]:
    """Who is ahead beyond chance, and a few words.

    A technique is ahead where the corrected p over examples is below `ALPHA` and the interval,
    in which runs vary too, leaves out zero; where examples were not kept, the p over runs decides.
    """
    over_examples = math.isfinite(row.p_examples_corrected)
    p = row.p_examples_corrected if over_examples else row.p_runs_corrected
    if not math.isfinite(p) or not math.isfinite(row.low):
        return "", UNTESTED
    ahead = row.first if row.difference > 0 else row.second
    if p >= ALPHA or row.low <= 0 <= row.high:
        return "", OPEN
    if row.runs == 1:
        return "", f"{_short(ahead)} better in the one run"
    return ahead, f"{_short(ahead)} better"


def verdicts(frames: Frames, column: str) -> dict[tuple, str]:
    """Name the technique that is ahead beyond chance, "" for none, in every comparison.

    Args:
        column: `best` or `last`.

    Returns:
        Keys are model, task, regime, split and both techniques in alphabetical order.
    """
    table = judged(frames)
    table = table[table["epoch"] == column]
    return {
        (row.model, row.task, row.regime, row.split, *sorted((row.first, row.second))): row.better
        for row in rows_of(table)
    }


def _short(technique: str) -> str:
    return technique.removeprefix("b_") if technique in ("b_q", "b_k", "b_v") else technique


def _row(row) -> tuple[Shown, ...]:
    ends = f"{points(100 * row.low)} to {points(100 * row.high)}"
    return (
        *map(name, (grid.column_label(row.task, row.split), row.regime, row.first, row.second)),
        Shown(points(100 * row.difference), bold=bool(row.better)),
        Shown(ends if math.isfinite(row.low) else DASH, problem=row.note, reason=row.note),
        *map(Shown, map(_p, (row.p_runs, row.p_runs_corrected))),
        *map(Shown, map(_p, (row.p_examples, row.p_examples_corrected))),
        *map(Shown, (str(row.runs), str(row.examples or DASH))),
        Shown(row.verdict, problem=row.precision, reason=row.precision),
    )


def _p(value: float) -> str:
    if not math.isfinite(value):
        return DASH
    return f"{value:.4f}" if value >= 0.0001 else "below 0.0001"


def _notes(tidy: pd.DataFrame, column: str) -> list[str]:
    family = tidy.loc[tidy["epoch"] == column, "family"].max()
    notes = [
        f"The {grid.EXPLAINED[column]}, over the seeds that both have; the CSV file has the best "
        "and the last epoch. Difference: first minus second, in points.",
        "Interval: 95 % bootstrap, runs and examples drawn again.",
        "p runs: all signs of the runs' differences; 5 runs cannot go below 0.0625. p examples: "
        "answers of the two techniques change sides, 5,000 times.",
        f"Corrected: by Holm's method, comparisons in all: {family:.0f}." if len(tidy) else "",
        "Better: the corrected p over examples is below 0.05 and the interval leaves out 0 (over "
        "runs where examples were not kept). Not separated does not mean equal.",
        "docs/statistics.md says more." if len(tidy) else "",
    ]
    return [note for note in notes if note]
