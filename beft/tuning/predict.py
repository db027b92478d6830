"""Predict the rows of a file, of any size, with one adapter or several of one model."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from beft.data.normalise import encodable, text_of
from beft.errors import UserError, shortened
from beft.study.fields import nearest
from beft.tasks.labels import spelt
from beft.tasks.labels import target as number_of
from beft.tuning.blocks import Block, Table
from beft.tuning.load import Adapter, Predictions, predict_all
from beft.tuning.scores import confusion, of_classes, of_values
from beft.tuning.writing import check_target, writing

PREDICTED, PROBABILITY = "predicted", "probability"
MOST = 2**20  # numbers that are compared; labels of classes are counted, however many

Progress = Callable[[int, int, str], None]


@dataclass
class Tally:
    """What is counted of an adapter's predictions."""

    name: str  # the adapter's folder
    adapter: Adapter
    texts: tuple[str, ...]  # the columns that it reads
    label: str | None  # the column of labels; None where the file has none
    rows: int = 0
    empty: int = 0  # rows without a text, which get no prediction
    cut: int = 0  # rows whose text is longer than what the model reads
    unlabelled: int = 0  # rows without a label
    unknown: int = 0  # rows with a label that is none of the classes, or no number
    first_unknown: str = ""  # the place and label of the first of them
    counts: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.int64))
    truth: list[float] = field(default_factory=list)
    found: list[float] = field(default_factory=list)

    @property
    def compared(self) -> int:
        """Rows that have both a prediction and a label that is known."""
        return int(self.counts.sum()) if self.adapter.meaning.classes else len(self.truth)

    def metrics(self) -> dict[str, float]:
        """Metrics of the rows that were compared; empty if there are none."""
        if not self.compared:
            return {}
        if self.adapter.meaning.classes:
            return of_classes(self.counts)
        return of_values(np.array(self.truth), np.array(self.found))

    def count(self, block: Block, predictions: Predictions) -> None:
        """Counts the rows of a block."""
        self.rows += block.rows
        self.empty += int(predictions.empty.sum())
        self.cut += int(predictions.cut.sum())
        if self.label is None:
            return
        labels = _labels(self, block)
        known = np.flatnonzero(~np.isnan(labels) & ~predictions.empty)
        if classes := self.adapter.meaning.classes:
            best = predictions.probabilities[known].argmax(axis=1)
            more = confusion(labels[known], best, len(classes))
            self.counts = more if not len(self.counts) else self.counts + more
        else:
            known = known[: MOST - len(self.truth)]
            self.truth += labels[known].tolist()
            self.found += predictions.predictions[known].tolist()


def predict_file(
    adapters: Sequence[Adapter],
    table: Table,
    target: Path,
    texts: Sequence[str] = (),
    label: str | None = None,
    progress: Progress = lambda done, total, text: None,
) -> list[Tally]:
    """Writes the rows of a file with what each adapter predicts, in their order.

    The columns `predicted` and `probability` are added, of several adapters `predicted_NAME` and
    `probability_NAME`; of a regression `predicted` alone.

    Args:
        adapters: of one model.
        table: the file that is read.
        target: the file that is written, whole or not at all; its suffix says in which format.
        texts: the columns of text; by default those that each adapter was tuned on.
        label: the column of labels to compare with; by default the one that was tuned on, if any.
        progress: called with the number of rows done, of all rows, and what is done.

    Raises:
        UserError: a column is missing, or is there that is to be added; a row cannot be read, or
            holds no text where one is expected; the target cannot be written.
    """
    tallies = _tallies(adapters, table, tuple(texts), label)
    columns = [_columns(tally, len(tallies) > 1) for tally in tallies]
    added = {name: kind for each in columns for name, kind in each.items()}
    check_target(table, target, added)
    with writing(table, target, added) as write:
        for block in table.blocks():
            progress(block.first, table.rows, "predicting")
            more: dict[str, list[Any]] = {}
            predicted = _predicted(tallies, block, table.path)
            for tally, names, found in zip(tallies, columns, predicted, strict=True):
                tally.count(block, found)
                more |= zip(names, _values(found), strict=True)
            write(block, more)
        if tallies[0].rows != table.rows:
            raise UserError(f"{table.path}: it was changed while it was read; try again")
    return tallies


def _tallies(
    adapters: Sequence[Adapter], table: Table, texts: tuple[str, ...], label: str | None
) -> list[Tally]:
    names = [adapter.folder.resolve().name for adapter in adapters]
    for number, name in enumerate(names):
        if name in names[:number]:
            raise UserError(
                f"{adapters[number].folder}: two adapters are called '{name}', after which columns "
                "are named; rename one of their folders"
            )
    found = []
    for adapter, name in zip(adapters, names, strict=True):
        own = texts or adapter.meaning.texts
        if len(own) != len(adapter.meaning.texts):
            raise UserError(
                f"--text: {len(own)} columns, but {adapter.folder} reads "
                f"{len(adapter.meaning.texts)} ({', '.join(adapter.meaning.texts)})"
            )
        for column in own:
            _check_column(table, column, "--text")
        compared = label
        if label is not None:
            _check_column(table, label, "--label")
        elif table.names.count(adapter.meaning.label) == 1:
            compared = adapter.meaning.label
        found.append(Tally(name, adapter, own, compared))
    return found


def _check_column(table: Table, column: str, option: str) -> None:
    number = table.names.count(column)
    if number == 0:
        raise UserError(
            f"{table.path}: no column '{shortened(column)}' ({nearest(column, table.names)}); name "
            f"another one with {option}"
        )
    if number > 1:
        raise UserError(f"{table.path}: {number} columns are named '{column}'; rename one of them")


def _columns(tally: Tally, several: bool) -> dict[str, type]:
    """The columns that an adapter adds, with the type of their values."""
    end = f"_{tally.name}" if several else ""
    if tally.adapter.meaning.classes:
        return {f"{PREDICTED}{end}": str, f"{PROBABILITY}{end}": float}
    return {f"{PREDICTED}{end}": float}


def _predicted(tallies: Sequence[Tally], block: Block, path: Path) -> Iterator[Predictions]:
    """What each adapter predicts of a block; those of the same columns share their tokens."""
    of_columns: dict[tuple[str, ...], list[Tally]] = {}
    for tally in tallies:
        of_columns.setdefault(tally.texts, []).append(tally)
    found: dict[str, Predictions] = {}
    for columns, group in of_columns.items():
        texts = list(zip(*(_texts(block, name, path) for name in columns), strict=True))
        answers = predict_all([tally.adapter for tally in group], texts)
        found |= {tally.name: each for tally, each in zip(group, answers, strict=True)}
    return (found[tally.name] for tally in tallies)


def _texts(block: Block, name: str, path: Path) -> list[str]:
    """A column of texts; an empty text where there is none."""
    texts = []
    for row, value in enumerate(block.column(name)):
        try:
            texts.append("" if value is None else text_of(value))
            encodable(texts[-1])
        except ValueError as error:
            where = f"{path}: {block.place(row)}"
            raise UserError(f"{where}: column '{shortened(name)}' {error}") from None
    return texts


def _values(found: Predictions) -> Iterator[list[Any]]:
    """The values of each column that is added; None for a row without a text."""
    if not found.classes:
        yield [
            None if gone else v
            for gone, v in zip(found.empty, found.predictions.tolist(), strict=True)
        ]
        return
    yield found.predictions.tolist()
    best = found.probabilities.max(axis=1).tolist()
    yield [None if gone else value for gone, value in zip(found.empty, best, strict=True)]


def _labels(tally: Tally, block: Block) -> np.ndarray:
    """The labels of a block, (n,): positions of classes, or numbers; NaN where none is known."""
    assert tally.label is not None
    classes = {spelt(name): i for i, name in enumerate(tally.adapter.meaning.classes)}
    labels = np.full(block.rows, np.nan)
    for row, value in enumerate(block.column(tally.label)):
        if value is None or (isinstance(value, str) and not value.strip()):
            tally.unlabelled += 1
            continue
        try:
            labels[row] = classes[spelt(value)] if classes else _number(value)
        except (KeyError, ValueError):
            tally.unknown += 1
            shown = f"{block.place(row)}: '{shortened(value, 40)}'"
            tally.first_unknown = tally.first_unknown or shown
    return labels


def _number(value: Any) -> float:
    try:
        return number_of(value)
    except ValueError:  # a decimal comma, perhaps
        return number_of(str(value).replace(",", ".", 1))
