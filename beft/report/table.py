"""What a table is, before any format: grids of cells for readers, long rows for programs."""

import math
from dataclasses import dataclass

import pandas as pd

DASH = "—"


@dataclass(frozen=True)
class Shown:
    """One cell in parts, so that each format can set them in its own way.

    Attributes:
        text: the number in percent, or a word or dash where there is none.
        spread: deviation and number of runs.
        paper: the paper's number.
        marks: signs that the notes explain.
        problem: what became of the runs that do not count.
        reason: the whole story behind `problem`.
        bold, underlined: emphasised; the notes say what for.
        name: the text is a name (of a task, regime, technique), not a number.
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


def significant(percentage: float) -> str:
    """A percentage with two significant digits, never in powers of ten: 0.0037, 0.12, 100."""
    if not math.isfinite(percentage):
        return DASH
    digits = 1 - math.floor(math.log10(percentage)) if percentage > 0 else 0
    return f"{percentage:.{max(digits, 0)}f}"


def name(text: str) -> Shown:
    """A cell that names its row."""
    return Shown(text, name=True)
