"""What a table is, before any format: grids of cells for readers, long rows for programs."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

DASH = "—"


@dataclass(frozen=True)
class Shown:
    """One cell in parts, so that each format can set them in its own way.

    Attributes:
        text: the number in percent, or a word or dash where there is none.
        spread: deviation, and how many of the planned runs count.
        paper: the paper's number, and the difference to it.
        marks: signs that the notes explain.
        problem: what became of the runs that do not count.
        reason: the whole story behind `problem`.
        bold, underlined: emphasised; the notes say what for.
        name: the text is a name (of a task, regime, technique), not a number.
        interval: both ends of the interval of the number.
        place: the model, task, regime and technique of the runs behind it; empty: of any.
    """

    text: str
    spread: str = ""
    paper: str = ""
    marks: str = ""
    problem: str = ""
    reason: str = ""
    bold: bool = False
    name: bool = False
    underlined: bool = False
    interval: str = ""
    place: tuple[str, str, str, str] | tuple[()] = ()


@dataclass(frozen=True)
class Part:
    """One grid of a table: the first `leading` columns name the row."""

    caption: str
    columns: tuple[str, ...]
    leading: int
    rows: tuple[tuple[Shown, ...], ...]


@dataclass(frozen=True)
class Table:
    """A table: grids for readers in `parts`, the same facts in long form for programs in `tidy`."""

    name: str
    title: str
    notes: tuple[str, ...]
    parts: tuple[Part, ...]
    tidy: pd.DataFrame


def percent(value: float, digits: int = 1) -> str:
    """A fraction as percent with a fixed number of digits; a dash where it is undefined."""
    return f"{100 * value:.{digits}f}" if math.isfinite(value) else DASH


def points(difference: float) -> str:
    """A difference in points with its sign; none before zero; a dash where it is undefined."""
    return f"{round(difference, 1) + 0.0:+.1f}" if math.isfinite(difference) else DASH


def between(low: float, high: float) -> str:
    """Both ends of an interval of a fraction, in percent; empty where it is undefined."""
    return f"{percent(low)} to {percent(high)}" if math.isfinite(low) else ""


def beside(paper: float, ours: float) -> str:
    """The paper's number and how far ours is above it; empty where the paper has none.

    Args:
        paper: in percent.
        ours: a fraction.
    """
    if not math.isfinite(paper):
        return ""
    difference = f", {points(100 * ours - paper)}" if math.isfinite(ours) else ""
    return f"paper {paper:.1f}{difference}"


def significant(percentage: float) -> str:
    """A percentage with two significant digits, never in powers of ten: 0.0037, 0.12, 100."""
    if not math.isfinite(percentage):
        return DASH
    digits = 1 - math.floor(math.log10(percentage)) if percentage > 0 else 0
    return f"{percentage:.{max(digits, 0)}f}"


def digits(table: pd.DataFrame, columns: Iterable[str]) -> pd.DataFrame:
    """A table in which these numbers are text of four digits, empty where undefined.

    A csv file's six decimals would make 0 of what is very small.
    """
    text = {c: [f"{x:.4g}" if math.isfinite(x) else "" for x in table[c]] for c in columns}
    return table.assign(**text)


def name(text: str) -> Shown:
    """A cell that names its row."""
    return Shown(text, name=True)
