"""What examples hold, in numbers and in a few lines: sizes of classes, lengths, repeated texts."""

import math
from collections import Counter, defaultdict
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from beft.errors import shortened
from beft.tuning.examples import Columns, Examples
from beft.tuning.groups import folded

_NAMED = 6  # classes that are named on the terminal; more are counted


@dataclass(frozen=True)
class Seen:
    """What a file holds."""

    rows: int  # examples: rows with a text and a label
    classes: dict[str, int]  # examples of each class; empty for a regression
    guessing: float  # share of the most frequent class; NaN for a regression
    mean: float  # of the targets of a regression, else NaN
    deviation: float
    whole: bool  # whether all of them are whole numbers
    commas: bool  # whether targets are written with a decimal comma
    empty: int  # rows that were left out because their text or label is empty
    first_empty: str  # the place of the first of them
    duplicates: int  # examples whose text an earlier one has
    contradictions: int  # examples whose text another one has with another label
    longest: int  # words of the longest text
    median: float  # words of the median text

    def lines(self, columns: Columns) -> list[str]:
        """At most three short lines for the terminal, which name the columns that are used."""
        notes, names = self._notes(), [f"'{shortened(name, 30)}'" for name in columns.texts]
        return [
            f"{counted(self.rows)}; label '{shortened(columns.label, 30)}': {self._labels()}",
            f"text{'s' * (len(names) > 1)} {' and '.join(names)}: {self.median:g} words in the "
            f"middle, {self.longest} at most",
            *(["; ".join(notes)] if notes else []),
        ]

    def of_test(self) -> list[str]:
        """What is odd about rows that are tested on: a few words for each."""
        absent = [shortened(name, 30) for name, size in self.classes.items() if not size]
        return [*self._notes(), *([f"no row of {', '.join(absent[:_NAMED])}"] if absent else [])]

    def _labels(self) -> str:
        if not self.classes:
            told = f"numbers of mean {self.mean:.4g} and deviation {self.deviation:.4g}"
            if self.whole:
                return f"{told}; if they are classes, ask for a metric of classes, as accuracy"
            return f"{told}; decimal commas are read as points" if self.commas else told
        sizes = sorted(self.classes.items(), key=lambda item: -item[1])
        told = ", ".join(f"{shortened(name, 30)} ({count})" for name, count in sizes)
        if len(sizes) > _NAMED:
            told = f"{len(sizes)} classes of {sizes[-1][1]} to {sizes[0][1]} rows"
        return f"{told}; guessing the most frequent: {100 * self.guessing:.1f} %"

    def _notes(self) -> list[str]:
        left_out = f"{counted(self.empty)} without text or label left out, first {self.first_empty}"
        twice = f"{counted(self.duplicates)} with the text of an earlier one"
        apart = f"{counted(self.contradictions)} with one text and different labels"
        told = {left_out: self.empty, twice: self.duplicates, apart: self.contradictions}
        return [words for words, number in told.items() if number]


def count(found: Examples, commas: bool = False, empty: int = 0, first_empty: str = "") -> Seen:
    """Counts what examples hold.

    Args:
        found: the examples; there is at least one.
        commas: whether targets are written with a decimal comma.
        empty: how many rows of the file were left out.
        first_empty: the place of the first of them.
    """
    labels: dict[tuple[str, ...], set[Any]] = defaultdict(set)
    keys = [folded(texts) for texts in found.texts]
    for key, label in zip(keys, found.labels.tolist(), strict=True):
        labels[key].add(label)
    words = [sum(len(text.split()) for text in texts) for texts in found.texts]
    sizes = Counter(found.labels.tolist())
    numbers = found.labels if not found.classes else np.array([math.nan])
    return Seen(
        rows=len(found),
        classes={name: sizes[index] for index, name in enumerate(found.classes)},
        guessing=max(sizes.values()) / len(found) if found.classes else math.nan,
        mean=float(numbers.mean()),
        deviation=float(numbers.std()),
        whole=not found.classes and bool((numbers % 1 == 0).all()),
        commas=commas,
        empty=empty,
        first_empty=first_empty,
        duplicates=len(found) - len(labels),
        contradictions=sum(len(labels[key]) > 1 for key in keys),
        longest=max(words),
        median=float(median(words)),
    )


def counted(rows: int) -> str:
    """A number of rows, in words."""
    return f"{rows} row{'s' if rows != 1 else ''}"
