"""Read columns of JSON lines or of a JSON array; what others hold is parsed and dropped."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from beft.data.readers.rows import Rows, Twice
from beft.tasks.labels import Number

_DEEPEST = 50  # levels that are kept of a text that is nested too deeply for Python's parser
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|$)|[\[\]{}]|[^\[\]{}"]+', re.DOTALL)
_MOST = 1000  # keys of all rows together, where all are read: each is a column


def read_jsonl(text: str, columns: Sequence[str] | None = None) -> Rows:
    """Reads columns of JSON lines; None reads all. Numbers keep the text that the file writes.

    Raises:
        ValueError: naming the line that is no object.
    """
    decoder = decoder_of_rows()
    starts = []
    lines = text.removesuffix("\n").split("\n")

    def objects() -> Iterator[dict[str, Any]]:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                starts.append(number)
                yield row_of(line, number, decoder)

    values, names = gathered(objects(), columns)
    return Rows(values, names, len(starts), starts, len(lines))


def read_array(text: str, columns: Sequence[str] | None = None) -> Rows:
    """Reads columns of a JSON array of objects; None reads all.

    Raises:
        ValueError: naming the line, or the row that is no object.
    """
    array = _decoded(text, decoder_of_rows())
    if not isinstance(array, list):
        raise ValueError("it is not an array of objects in brackets")
    for number, row in enumerate(array):
        if not isinstance(row, dict):
            raise ValueError(f"row {number}: not an object in braces")
    return Rows(*gathered(array, columns), len(array))


def gathered(
    objects: Iterable[dict[str, Any]], columns: Sequence[str] | None
) -> tuple[dict[str, list[Any]], list[str]]:
    """The columns of rows that are objects, and the names of all; None gathers all columns.

    Raises:
        ValueError: if there is no row, or there are too many names.
    """
    values: dict[str, list[Any]] = {name: [] for name in columns or ()}
    names: dict[str, None] = {}
    count = 0
    for row in objects:
        new = [name for name in row if name not in names]
        names |= dict.fromkeys(new)
        if columns is None:
            if len(names) > _MOST:
                raise ValueError(f"its rows have more than {_MOST} different keys")
            values |= {name: [None] * count for name in new}
        for name, column in values.items():
            column.append(row.get(name))
        count += 1
    if not count:
        raise ValueError("the file is empty")
    return {name: column for name, column in values.items() if name in names}, list(names)


def row_of(line: str, number: int, decoder: json.JSONDecoder) -> dict[str, Any]:
    """The row that a line holds.

    Args:
        line: the line.
        number: its number in the file.
        decoder: from `decoder_of_rows`.

    Raises:
        ValueError: naming the line, if it is no object.
    """
    try:
        row = _decoded(line, decoder)
    except ValueError as error:
        raise ValueError(f"line {number}: {error}") from None
    if not isinstance(row, dict):
        raise ValueError(f"line {number}: not an object in braces")
    return row


def decoder_of_rows() -> json.JSONDecoder:
    """A decoder that keeps the text of numbers, and finds keys that stand twice."""
    return json.JSONDecoder(
        object_pairs_hook=_object,
        parse_int=Number,
        parse_float=Number,
        parse_constant=lambda name: None if name == "NaN" else Number(name),
        strict=False,
    )


def _decoded(text: str, decoder: json.JSONDecoder) -> Any:
    try:
        return decoder.decode(text)
    except RecursionError:
        return decoder.decode(_shallow(text))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        made |= {key: Twice() for key, count in counts.items() if count > 1}
    return made


def _shallow(text: str) -> str:
    """The text without what lies deeper than anything that a task reads."""
    kept, depth = [], 0
    for token in _TOKEN.findall(text):
        opens, closes = token in ("[", "{"), token in ("]", "}")
        depth += opens
        if depth <= _DEEPEST:
            kept.append(token)
        elif opens and depth == _DEEPEST + 1:
            kept.append("null")
        depth -= closes
    return "".join(kept)
