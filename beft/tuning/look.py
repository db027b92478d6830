"""Turn rows into examples, and count what their owner should know before anything is trained."""

from dataclasses import dataclass
from typing import Any

from beft.data.readers.rows import Rows
from beft.tuning.examples import Columns, Examples


@dataclass(frozen=True)
class Seen:
    """What a file holds."""

    rows: int  # examples: rows with a text and a label
    classes: dict[str, int]  # examples of each class; empty for a regression
    guessing: float  # share of the most frequent class; NaN for a regression
    mean: float  # of the targets of a regression, else NaN
    deviation: float
    empty: int  # rows that were left out because their text or label is empty
    first_empty: str  # the place of the first of them
    duplicates: int  # examples whose text an earlier one has
    contradictions: int  # examples whose text another one has with another label
    longest: int  # words of the longest text
    median: float  # words of the median text

    def lines(self) -> list[str]:
        """At most four short lines for the terminal."""
        raise NotImplementedError


def examples(
    rows: Rows, columns: Columns, group: str | None = None, enough: bool = True
) -> tuple[Examples, Seen]:
    """Makes the examples of a file; rows whose text or label is empty are left out and counted.

    Args:
        rows: all columns of a file.
        columns: those that are used; labels are matched with its classes by value.
        group: a column whose equal values stay on one side of every cut, as equal texts do.
        enough: whether to refuse what is too little to train on (`check`); not for a test file.

    Raises:
        UserError: if a label is none of the classes or no number, or what `check` refuses.
    """
    raise NotImplementedError


def check(pool: Examples, columns: Columns, origin: str) -> None:
    """Refuses examples of which a model cannot learn, in one line that names the remedy.

    Raises:
        UserError: for one class, more than 100, or too few rows.
    """
    raise NotImplementedError


def too_long(found: Examples, tokenizer: Any, max_length: int) -> int:
    """How many examples have more tokens, special ones among them, than a model reads."""
    raise NotImplementedError
