"""Turn rows into examples, and refuse those of which nothing can be learned or tested."""

from collections.abc import Hashable
from typing import Any

import numpy as np

from beft.data.normalise import column, each, encodable, label_of, text_of
from beft.data.readers.csv_file import check_quotes
from beft.data.readers.read import refused
from beft.data.readers.rows import Rows
from beft.errors import UserError, shortened
from beft.tasks.labels import spelt
from beft.tuning.examples import Columns, Examples
from beft.tuning.groups import alike, connected
from beft.tuning.seen import Seen, count, counted
from beft.tuning.targets import commas, missing, number

MOST_CLASSES = 100
LEAST_OF_A_CLASS = 8  # rows of different texts: for a test, for folds, and a few to learn from
LEAST_NUMBERS = 40  # the same of a regression
_BATCH = 1000


def examples(
    rows: Rows, columns: Columns, group: str | None = None, enough: bool = True
) -> tuple[Examples, Seen]:
    """Makes the examples of a file; rows whose text or label is empty are left out and counted.

    Rows of equal texts form a group, whatever their capitals and blanks. So do rows of one value in
    the column `group`, and rows that a chain of both connects.

    Args:
        rows: all columns of a file.
        columns: those that are used; labels are matched with its classes by value.
        group: a column whose equal values stay on one side of every cut, as equal texts do.
        enough: whether to refuse what is too little to train on (`check`); not for a test file.

    Raises:
        UserError: if a text is none, a label is none of the classes or no number, quotes of a csv
            have merged rows, or `check` refuses the examples.
    """
    texts = [_texts(rows, name) for name in columns.texts]
    given = column(rows, columns.label, rows.origin)
    values = each(rows, given, label_of, columns.label, rows.origin)
    empty = [
        row for row in range(rows.count) if missing(values[row]) or None in [t[row] for t in texts]
    ]
    used = np.setdiff1d(np.arange(rows.count), empty)
    if not len(used):
        raise UserError(f"{rows.origin}: no row has both a text and a label")
    labels, with_commas = _labels(rows, columns, values, used)
    together = tuple(tuple(text[row] or "" for text in texts) for row in used)
    named = _group_names(rows, group, used) if group is not None else ()
    groups = connected(_keys(together, named))
    found = Examples(together, labels, columns.classes, groups, used.astype(np.int64), named)
    if enough:
        check(found, columns, rows.origin)
    return found, count(found, with_commas, len(empty), rows.place(empty[0]) if empty else "")


def check(pool: Examples, columns: Columns, origin: str) -> None:
    """Refuses examples of which a model cannot learn, in one line that names the remedy.

    Args:
        pool: the examples.
        columns: the columns that they come from.
        origin: the name of their file.

    Raises:
        UserError: for one class, more than 100, too few rows of a class, or too few numbers.
    """
    where = f"{origin}: column '{shortened(columns.label)}'"
    if columns.classes:
        _check_classes(pool, where)
        return
    groups = len(set(pool.groups.tolist()))
    if groups < LEAST_NUMBERS:
        raise UserError(
            f"{where} has numbers for {_apart(pool, groups)}; add rows: at least "
            f"{LEAST_NUMBERS} are needed"
        )
    if len(set(pool.labels.tolist())) == 1:
        raise UserError(f"{where} has the same number in every row; add rows with other numbers")


def too_long(found: Examples, tokenizer: Any, max_length: int) -> int:
    """How many examples have more tokens, special ones among them, than a model reads."""
    longer = 0
    for start in range(0, len(found), _BATCH):
        segments = [list(texts) for texts in zip(*found.texts[start : start + _BATCH], strict=True)]
        ids = tokenizer(*segments, truncation=False, verbose=False)["input_ids"]
        longer += sum(len(tokens) > max_length for tokens in ids)
    return longer


def _check_classes(pool: Examples, where: str) -> None:
    names = pool.classes
    if len(names) == 1:
        raise UserError(
            f"{where} has one class only ('{shortened(names[0])}'); add rows of another, or give "
            "--label NAME for another column"
        )
    if len(names) > min(MOST_CLASSES, max(LEAST_OF_A_CLASS, len(pool) // 2)):
        raise UserError(
            f"{where} has {len(names)} different labels in {counted(len(pool))}, so it looks like "
            f"ids or texts (at most {MOST_CLASSES} classes are trained); give --label NAME for "
            "another column"
        )
    sizes = [len(set(pool.groups[pool.labels == i].tolist())) for i in range(len(names))]
    rare = [index for index, size in enumerate(sizes) if size < LEAST_OF_A_CLASS]
    if rare:
        first = min(rare, key=lambda index: sizes[index])
        more = f" (others too few: {len(rare) - 1})" if len(rare) > 1 else ""
        raise UserError(
            f"{where}: class '{shortened(names[first])}' has {_apart(pool, sizes[first])}{more}; "
            f"add rows, or remove or rename the class: at least {LEAST_OF_A_CLASS} are needed"
        )


def _texts(rows: Rows, name: str) -> list[str | None]:
    """A column of texts; None for those that are empty."""

    def convert(value: Any) -> str | None:
        if missing(value):
            return None
        text = text_of(value)
        encodable(text)
        return text

    return each(rows, column(rows, name, rows.origin), convert, name, rows.origin)


def _labels(
    rows: Rows, columns: Columns, values: list[Any], used: np.ndarray
) -> tuple[np.ndarray, bool]:
    """The labels of the rows that are used, and whether they are written with decimal commas."""
    places = {spelt(name): index for index, name in enumerate(columns.classes)}
    names = shortened(", ".join(columns.classes), 200)
    strange = [row for row in used if columns.classes and spelt(values[row]) not in places]
    with refused(rows.origin, "a table of texts and labels"):
        check_quotes(rows, columns.label, lambda text: spelt(text) in places)
        with_commas = not columns.classes and commas([values[row] for row in used])

    def convert(value: Any) -> Any:
        if value is None:  # of a row that is not used
            return None
        if not columns.classes:
            return number(value, with_commas)
        if spelt(value) not in places:
            raise ValueError(
                f"label '{shortened(value)}' is not one of {names}; remove such rows "
                f"({len(strange)}), or add some to the rows that are trained on"
            )
        return places[spelt(value)]

    left: list[Any] = [None] * rows.count
    for row in used:
        left[row] = values[row]
    converted = each(rows, left, convert, "", rows.origin)
    kind = np.int64 if columns.classes else np.float64
    return np.array([converted[row] for row in used], dtype=kind), with_commas


def _group_names(rows: Rows, group: str, used: np.ndarray) -> tuple[str, ...]:
    """The value of each row in the column of groups; an empty text where it has none."""
    values = each(rows, column(rows, group, rows.origin), label_of, group, rows.origin)
    return tuple("" if missing(values[row]) else spelt(values[row]) for row in used)


def _keys(texts: tuple[tuple[str, ...], ...], named: tuple[str, ...]) -> list[list[Hashable]]:
    """What each row shares with the others of its group: its texts, in any order, and a name."""
    keys: list[list[Hashable]] = [[alike(row)] for row in texts]
    for row, name in enumerate(named):
        if name:
            keys[row].append(name)
    return keys


def _apart(pool: Examples, groups: int) -> str:
    """How many different texts, or groups of rows, there are."""
    several = "s" if groups != 1 else ""
    return (
        f"only {groups} group{several} of rows"
        if any(pool.named)
        else (f"only {groups} different text{several}")
    )
