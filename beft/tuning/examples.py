"""Labelled examples of one's own: what is read from a file, and the parts that it is cut into."""

from dataclasses import dataclass

import numpy as np

from beft.study.params import Prompt


@dataclass(frozen=True)
class Columns:
    """Which columns of a file are used, and for what."""

    texts: tuple[str, ...]  # one column, or two of a pair of texts
    label: str
    classes: tuple[str, ...]  # names of the classes, in order; empty for a regression


@dataclass(frozen=True)
class Examples:
    """Labelled examples in the order of their file."""

    texts: tuple[tuple[str, ...], ...]  # the text, or the two texts, of each example
    labels: np.ndarray  # (n,) int64 positions in `classes`; (n,) float64 targets of a regression
    classes: tuple[str, ...]  # empty for a regression
    groups: np.ndarray  # (n,) int64; examples of one number stay on one side of every cut
    rows: np.ndarray  # (n,) int64, the row of each in its file, from 0
    named: tuple[str, ...] = ()  # the value of each in the column `--group`; empty without one

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, index: np.ndarray) -> "Examples":
        """The examples at these positions, in this order."""
        return Examples(
            tuple(self.texts[i] for i in index),
            self.labels[index],
            self.classes,
            self.groups[index],
            self.rows[index],
            tuple(self.named[i] for i in index) if self.named else (),
        )


@dataclass(frozen=True)
class Cut:
    """Which examples are tested on, and which fold holds each of the others out."""

    test: np.ndarray  # (t,) int64, ascending positions; empty where the test is another file
    pool: np.ndarray  # (p,) int64, ascending positions of all others
    folds: np.ndarray  # (p,) int64, for each of `pool` the fold, from 0, that holds it out


@dataclass(frozen=True)
class Meaning:
    """What the outputs of a tuned model mean; it stands in an adapter's folder."""

    texts: tuple[str, ...]  # names of the columns of text
    label: str  # name of the column of labels
    classes: tuple[str, ...]  # empty for a regression
    mean: float = 0.0  # of a regression: targets are output * deviation + mean
    deviation: float = 1.0
    prompt: Prompt | None = None  # that a decoder answers; None of an encoder
