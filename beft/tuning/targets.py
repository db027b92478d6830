"""What a column of labels holds: classes, which are texts, or the numbers of a regression."""

import re
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from beft.errors import UserError, shortened
from beft.tasks.labels import Number, fits, spelt, target
from beft.tuning.groups import folded

CLASSES, REGRESSION = "classes", "regression"
UNBALANCED = "unbalanced"  # classes whose metric rare ones weigh in on
PROMPTS = "prompts"  # classes whose names a decoder answers
MOST_NUMBERS = 20  # different whole numbers that are still taken for classes
OF_VALUES = ("spearman", "pearson")  # metrics of a regression; the first is the usual one
OF_CLASSES = ("accuracy", "f1", "f1_macro", "matthews")
TIMES = 2  # as many rows has the commonest class of unbalanced ones as the rarest, at least
_MOSTLY = 0.9  # share of numbers in a column whose other values are mistakes
_COMMA = re.compile(r"[+-]?[0-9.]+,([0-9]+)")
_SEPARATORS = (";", "|", ",")
_LONGEST = 17  # characters of numbers that are sorted by value


def example_of(value: Any) -> str:
    """A value as it stands in a message, however deeply it is nested."""
    try:
        return shortened(value)
    except RecursionError:
        return "..."


def missing(value: Any) -> bool:
    """Whether a row has no value there, or a blank text."""
    return value is None or (isinstance(value, str) and not value.strip())


def numeric(value: Any) -> bool:
    """Whether a value is a number, or a text that writes one."""
    return isinstance(value, Number) or (isinstance(value, str) and fits(value, ()))


def whole(value: Any) -> bool:
    """Whether a value is a whole number."""
    return numeric(value) and re.fullmatch(r"[+-]?[0-9]+", spelt(value)) is not None


def ordered(values: Sequence[Any]) -> tuple[str, ...]:
    """The classes of labels by name, in a natural order: numbers by value, others by alphabet."""
    names = {spelt(value) for value in values}
    if all(numeric(name) and len(name) <= _LONGEST for name in names):
        return tuple(sorted(names, key=lambda name: (Decimal(name), name)))
    return tuple(sorted(names, key=lambda name: (name.casefold(), name)))


def kind_of(values: Sequence[Any], metric: str | None = None) -> str:
    """Whether labels are classes or the numbers of a regression.

    Args:
        values: the labels that are not missing.
        metric: the metric that the user wants; most metrics are of one kind only.
    """
    if metric in OF_VALUES:
        return REGRESSION
    if metric in OF_CLASSES:
        return CLASSES
    numbers = [value for value in values if numeric(value) or _COMMA.fullmatch(str(value).strip())]
    if len(numbers) < max(1, _MOSTLY * len(values)):
        return CLASSES
    several = len({spelt(value) for value in numbers}) > MOST_NUMBERS
    return REGRESSION if several or not all(map(whole, numbers)) else CLASSES


def commas(values: Sequence[Any]) -> bool:
    """Whether numbers are written with a decimal comma, as in 3,5.

    Raises:
        ValueError: if such a value may mean something else: 1234, or the two labels 3 and 5.
    """
    texts = [str(value).strip() for value in values]
    parts = [match[1] for match in map(_COMMA.fullmatch, texts) if match]
    if not parts or not all(fits(text.replace(",", "."), ()) for text in texts):
        return False
    shown = next(text for text in texts if "," in text)
    if any("." in text for text in texts) or all(len(part) == 3 for part in parts):
        raise ValueError(f"label '{shown}' may have a decimal comma or one of thousands")
    if set(parts) <= set(texts):
        raise ValueError(f"label '{shown}' may have a decimal comma or be two (multi-label)")
    return True


def number(value: Any, comma: bool) -> float:
    """A label of a regression as a number.

    Args:
        value: the label.
        comma: whether numbers of its column are written with a decimal comma.

    Raises:
        ValueError: if it is none, or one that a run cannot hold.
    """
    return target(str(value).replace(",", ".") if comma else value)


def refuse_several(values: Sequence[Any], what: str) -> None:
    """Refuses labels that name several classes at once.

    Args:
        values: the labels that are not missing.
        what: the column, for the message.

    Raises:
        UserError: with the first such label.
    """
    remedy = "multi-label tasks are not supported: give each row one label"
    for value in values:
        if isinstance(value, list | dict) or _listed(str(value).strip()):
            shown = example_of(value)
            raise UserError(f"{what} holds several labels in one row ({shown}); {remedy}")
    names = {spelt(value) for value in values}
    for separator in _SEPARATORS:
        pieces = {name: [part.strip() for part in name.split(separator)] for name in names}
        counts = Counter(part for parts in pieces.values() for part in set(parts))
        for value in values:
            parts = pieces[spelt(value)]
            if len(parts) > 1 and all(part and counts[part] > 1 for part in parts):
                raise UserError(
                    f"{what} holds several labels in one row ('{shortened(value)}'); {remedy}"
                )


def different(classes: tuple[str, ...], where: str) -> tuple[str, ...]:
    """Refuses classes that are one class, as people read them."""
    seen: dict[tuple[str, ...], str] = {}
    for name in classes:
        other = seen.setdefault(folded([name]), name)
        if other != name:
            raise UserError(
                f"{where}: labels '{shortened(other)}' and '{shortened(name)}' differ in capitals "
                "or blanks only; write them alike"
            )
    if set(classes) <= {"0", "1", "true", "false"} and len(set(map(str.isdigit, classes))) == 2:
        raise UserError(f"{where}: labels are {', '.join(classes)}; write 1 and true alike")
    return classes


def _listed(text: str) -> bool:
    """Whether a text is a list or an object, as Python and JSON write them."""
    held = len(text) == 2 or any(sign in text for sign in ",:'\"")
    return text[:1] + text[-1:] in ("[]", "{}") and held
