"""A user's examples as they are used: read, looked at, and cut."""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from beft.data.readers.rows import Rows
from beft.errors import UserError, shortened
from beft.study.identity import digest, sha256
from beft.tuning.card import DataFile
from beft.tuning.columns import guess
from beft.tuning.cut import cut, separate
from beft.tuning.examples import Columns, Cut, Examples, Meaning
from beft.tuning.files import from_frame, read_file
from beft.tuning.look import check, examples
from beft.tuning.plan import Load
from beft.tuning.prompt import asked
from beft.tuning.seen import Seen, counted
from beft.tuning.targets import (
    CLASSES,
    OF_CLASSES,
    OF_VALUES,
    PROMPTS,
    REGRESSION,
    TIMES,
    UNBALANCED,
)
from beft.tuning.tokens import Reading
from beft.tuning.wish import Wish

LIKELY = 0.8  # of an accuracy, to say beforehand how wide its interval will be


@dataclass(frozen=True)
class Task:
    """The examples of a call."""

    name: str  # of the file
    content: str  # digest of the examples and of how they are cut
    all: Examples  # of the file, then those of a test file
    cut: Cut
    columns: Columns
    meaning: Meaning
    metric: str
    seen: Seen
    of_test: Seen | None  # of a test file; None if the test rows are of the same file
    dropped: int  # examples that a test file has too
    files: tuple[DataFile, ...]
    test_file: str  # the name of the file that the test rows are of

    @property
    def is_classes(self) -> bool:
        return bool(self.columns.classes)

    @property
    def kind(self) -> str:
        """What is raced for it (`candidates`)."""
        if self.meaning.prompt is not None:
            return PROMPTS
        if not self.is_classes:
            return REGRESSION
        counts = np.bincount(self.all.labels[self.cut.pool])
        uneven = self.metric != "accuracy" and counts.max() >= TIMES * counts.min()
        return UNBALANCED if uneven else CLASSES

    @property
    def folds(self) -> int:
        return int(self.cut.folds.max()) + 1

    @property
    def held_out(self) -> float:
        """The held-out rows of a fold divided by those that are trained on."""
        return 1 / max(1, self.folds - 1)

    @property
    def majority(self) -> int:
        """The commonest class of the pool; 0 for a regression."""
        return int(np.bincount(self.all.labels[self.cut.pool]).argmax()) if self.is_classes else 0

    def warnings(self) -> list[str]:
        """What a reader of the model card should know of the data."""
        counts = {
            "rows without text or label, which were left out": self.seen.empty,
            "rows with the text of another, all on one side of each cut": self.seen.duplicates,
            "rows with the text of another and another label": self.seen.contradictions,
        }
        found = [f"{what}: {count}" for what, count in counts.items() if count]
        return [*found, *self.test_notes()]

    def test_notes(self) -> list[str]:
        """What is odd about a test file, in one line, if anything is."""
        notes = self.of_test.of_test() if self.of_test else []
        if self.dropped:
            notes.append(f"{counted(self.dropped)} of {self.name} not trained on: it has them, too")
        return [f"{self.test_file}: {'; '.join(notes)}"] if notes else []

    def load(self, read: Reading) -> Load:
        """How much there is to read in a fold."""
        pool, tokens = len(self.cut.pool), int(read.computed[self.cut.pool].sum())
        held = 1 / self.folds
        return Load(
            *(round(pool * (1 - held)), round(tokens * (1 - held))),
            *(max(1, round(pool * held)), round(tokens * held)),
        )


def read_task(data: Any, wish: Wish, prompts: bool = False) -> Task:
    """Reads the data, guesses the columns, and cuts test rows and folds.

    Args:
        prompts: whether the model is a decoder, which is asked for the class.

    Raises:
        UserError: the data cannot be read or used, or it is not clear which columns are meant.
    """
    name, content, rows = _read(data)
    question = asked(rows, wish) if prompts else None
    columns = (
        guess(rows, wish.text, wish.label, metric=wish.metric)
        if question is None
        else question.columns
    )
    pool, seen = examples(rows, columns, wish.group)
    dropped, of_test, use = 0, None, "training and test"
    files = [DataFile(name, content, rows.count, use)]
    if isinstance(wish.test, str):
        test_name, test_content, other = _read(wish.test)
        _check_columns(other, rows, columns)
        test, of_test = examples(other, columns, wish.group, enough=False)
        pool, dropped = separate(pool, test)
        check(pool, columns, f"{rows.origin}, without what {other.origin} has too")
        parts = replace(cut(pool, 0.0, wish.seeds), test=len(pool) + np.arange(len(test)))
        every = _joined(pool, test)
        files = [
            DataFile(name, content, rows.count, "training"),
            DataFile(test_name, test_content, other.count, "test"),
        ]
    else:
        parts, every = cut(pool, wish.test, wish.seeds), pool
    meaning = Meaning(columns.texts, columns.label, columns.classes)
    if not columns.classes:
        targets = every.labels[parts.pool]
        mean, deviation = float(targets.mean()), float(targets.std()) or 1.0
        meaning = replace(meaning, mean=mean, deviation=deviation)
    if question is not None:
        meaning = replace(meaning, prompt=question.prompt(every))
    metric = _metric(wish.metric, columns)
    used = digest([_digest(every), parts.test.tolist(), parts.folds.tolist()])
    return Task(
        *(name, used, every, parts, columns, meaning, metric, seen, of_test, dropped),
        *(tuple(files), files[-1].name),
    )


def _check_columns(test: Rows, rows: Rows, columns: Columns) -> None:
    """Refuses a test file without the columns of the rows that are trained on."""
    for name in (*columns.texts, columns.label):
        if name not in test.columns:
            has = ", ".join(f"'{shortened(each)}'" for each in test.names[:30])
            raise UserError(
                f"{test.origin}: no column '{shortened(name)}', which {rows.origin} has; rename "
                f"one of {has}"
            )


def _read(data: Any) -> tuple[str, str, Rows]:
    """The name, the SHA-256 and the rows of a file or of data in memory."""
    if isinstance(data, str | Path):
        path = Path(data)
        rows = read_file(path)
        return path.name, sha256(path), rows
    rows = from_frame(data, "the data")
    content = repr([(name, rows.columns[name]) for name in sorted(rows.columns)])
    return "data", hashlib.sha256(content.encode(errors="surrogatepass")).hexdigest(), rows


def _joined(pool: Examples, test: Examples) -> Examples:
    return Examples(
        pool.texts + test.texts,
        np.concatenate([pool.labels, test.labels]),
        pool.classes,
        np.concatenate([pool.groups, test.groups + pool.groups.max(initial=0) + 1]),
        np.concatenate([pool.rows, test.rows]),
    )


def _digest(every: Examples) -> str:
    content = repr((every.texts, every.labels.tolist(), every.classes, every.groups.tolist()))
    return hashlib.sha256(content.encode(errors="surrogatepass")).hexdigest()


def _metric(wanted: str | None, columns: Columns) -> str:
    fit = OF_CLASSES if columns.classes else OF_VALUES
    if wanted is None:
        return fit[0]
    if wanted not in fit:
        what = "classes" if columns.classes else "numbers"
        raise UserError(
            f"--metric {wanted}: column '{columns.label}' holds {what}; choose {', '.join(fit)}"
        )
    if wanted == "f1" and len(columns.classes) != 2:
        raise UserError("--metric f1: needs two classes; choose f1_macro")
    return wanted


def about(task: Task, read: Reading) -> Iterator[str]:
    """What a user should know before anything is trained."""
    yield from task.seen.lines(task.columns)
    yield from task.test_notes()
    test, pool = len(task.cut.test), len(task.cut.pool)
    width = ""
    if task.metric == "accuracy":
        half = 196 * math.sqrt(LIKELY * (1 - LIKELY) / test)
        width = f": an interval of about +-{half:.0f} points"
    yield f"test: {counted(test)}, read once at the end{width}; {pool} rows in {task.folds} folds"
    if prompt := task.meaning.prompt:
        said = prompt.template.replace("\n", "\\n")
        answers = shortened(", ".join(prompt.answers))
        yield f"prompt: '{shortened(said, 160)}'; answers: {answers}"
    if cut_off := int(read.cut.sum()):
        what = f"texts of more than {read.max_length} tokens"
        yield f"{what} are cut to that length: {counted(cut_off)}"
