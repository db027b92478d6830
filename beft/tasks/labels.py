"""Match the labels of a file with the class names of a task, by value."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from beft.errors import one_line

_NUMBER = re.compile(r"[+-]?(0|[1-9][0-9]*)(\.[0-9]*)?([eE][+-]?[0-9]{1,3})?", re.ASCII)
_TARGET = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", re.ASCII)
_DIGITS = 400  # the longest number that is compared by value; longer ones are texts
_LARGEST = 3.4e38  # what float32, in which models are trained, can hold


class Number(str):
    """A number, as the text that a file writes for it."""


@dataclass(frozen=True)
class Wrong:
    """The first row whose label fits no class."""

    row: int
    reason: str


@dataclass(frozen=True)
class Matched:
    """The labels of a split as numbers."""

    numbers: list[int]
    by_position: bool  # the file holds 0, 1, ... instead of names


def spelt(value: object) -> str:
    """The text of a label, equal for all ways to write the same value.

    `True` and `true` are one value, and so are 1, 1.0 and +1; blanks around a text do not count.
    """
    text = str(value).strip()
    if text.lower() in ("true", "false"):
        return text.lower()
    if len(text) > _DIGITS or not _NUMBER.fullmatch(text):
        return text
    plain = format(Decimal(text), "f")
    plain = plain.rstrip("0").rstrip(".") if "." in plain else plain
    return "0" if plain == "-0" else plain


def ambiguous(names: Sequence[str]) -> bool:
    """Whether a name is a number or a boolean, which readers of files may take for one."""
    return any(_is_number(name) or spelt(name) in ("true", "false") for name in names)


def match(
    values: Sequence[object], names: Sequence[str], aliases: Sequence[str] = ()
) -> Matched | Wrong:
    """Turns labels into the positions of their classes.

    Values are compared with the names as texts (`spelt`). Values that are 0, 1, ... are positions
    if no name is a number.

    Args:
        values: texts, numbers (`Number`) or booleans, one for each row.
        names: the class names.
        aliases: what the files of this dataset call the classes, if that is something else.
    """
    distinct = dict.fromkeys(values)
    for known in (names, aliases):
        find = _finder(known)
        found = {value: find(value) for value in distinct}
        if None not in found.values():
            return _matched([found[value] for value in values], by_position=False)
    positions = _positions(names)
    if positions:
        found = {value: positions.get(spelt(value)) for value in distinct}
        if None not in found.values():
            return _matched([found[value] for value in values], by_position=True)
    return _wrong(values, names, positions)


def fits(value: object, names: Sequence[str]) -> bool:
    """Whether a text may be a label: one of the names, a position, or a number without names."""
    if not names:
        return _TARGET.fullmatch(str(value).strip()) is not None
    return _finder(names)(value) is not None or spelt(value) in _positions(names)


def target(value: object) -> float:
    """A label of a task without classes as a number.

    Raises:
        ValueError: if it is none, or one that a run cannot hold.
    """
    text = spelt(value) if isinstance(value, bool) else str(value).strip()
    shown = one_line(text, 40)
    if not _TARGET.fullmatch(text):
        raise ValueError(f"label '{shown}' is not a number")
    number = float(text)
    lost = number == 0 and re.search("[1-9]", re.split("[eE]", text)[0]) is not None
    whole = re.fullmatch(r"([+-]?[0-9]+)\.?0*", text)  # any other one may be rounded
    if lost or not abs(number) <= _LARGEST or (whole and int(whole[1]) != number):
        raise ValueError(f"label {shown} is a number that a run cannot hold")
    return number


def _finder(names: Sequence[str]) -> Callable[[Any], int | None]:
    """Finds the position of a value among names, of which no two are one value."""
    places = {spelt(name): index for index, name in enumerate(names)}
    return lambda value: places.get(spelt(value))


def _positions(names: Sequence[str]) -> dict[str, int]:
    """The positions of classes as texts; none if a name is itself a number."""
    if any(_is_number(name) for name in names):
        return {}
    return {str(index): index for index in range(len(names))}


def _is_number(value: object) -> bool:
    return isinstance(value, Number) or _NUMBER.fullmatch(str(value).strip()) is not None


def _matched(numbers: Sequence[int | None], by_position: bool) -> Matched:
    return Matched([number for number in numbers if number is not None], by_position)


def _wrong(values: Sequence[Any], names: Sequence[str], positions: dict[str, int]) -> Wrong:
    """Names the first row that is not of the kind of the first row: a position, or a name."""
    find = _finder(names)
    by_position = bool(positions) and _is_number(values[0]) and find(values[0]) is None
    if by_position:
        row = next(row for row, value in enumerate(values) if spelt(value) not in positions)
        expected = f"0 to {len(names) - 1} ({one_line(', '.join(names))})"
    else:
        row = next(row for row, value in enumerate(values) if find(value) is None)
        expected = one_line(", ".join(names))
    value = values[row]
    why = "" if positions else "; names that are numbers are matched by value, not by position"
    if spelt(value) in ("true", "false"):
        value, why = spelt(value), "; booleans are classes named 'true' and 'false'"
    shown = one_line(value, 60) if _is_number(value) else f"'{one_line(value, 60)}'"
    return Wrong(row, f"label {shown} is not one of {expected}{why}")
