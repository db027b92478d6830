"""Read columns of JSON lines; what other columns hold is parsed and dropped."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from beft.data.readers.rows import Rows, Twice
from beft.tasks.labels import Number

_DEEPEST = 50  # levels that are kept of a line that is nested too deeply for Python's parser
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|$)|[\[\]{}]|[^\[\]{}"]+', re.DOTALL)


def read_jsonl(text: str, columns: Sequence[str]) -> Rows:
    """Reads columns of JSON lines. Numbers keep the text that the file writes.

    Raises:
        ValueError: naming the line that is no object.
    """
    decoder = json.JSONDecoder(
        object_pairs_hook=_object,
        parse_int=Number,
        parse_float=Number,
        parse_constant=lambda name: None if name == "NaN" else Number(name),
        strict=False,
    )
    values: dict[str, list[Any]] = {name: [] for name in columns}
    names: dict[str, None] = {}
    starts = []
    lines = text.removesuffix("\n").split("\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        row = _row(line, decoder, number)
        starts.append(number)
        names |= dict.fromkeys(row)
        for name in columns:
            values[name].append(row.get(name))
    if not starts:
        raise ValueError("the file is empty")
    there = {name: values[name] for name in columns if name in names}
    return Rows(there, list(names), len(starts), starts, len(lines))


def _row(line: str, decoder: json.JSONDecoder, number: int) -> dict[str, Any]:
    try:
        try:
            row = decoder.decode(line)
        except RecursionError:
            row = decoder.decode(_shallow(line))
    except ValueError as error:
        raise ValueError(f"line {number}: {error}") from None
    if not isinstance(row, dict):
        raise ValueError(f"line {number}: not an object in braces")
    return row


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        made |= {key: Twice() for key, count in counts.items() if count > 1}
    return made


def _shallow(line: str) -> str:
    """The line without what lies deeper than anything that a task reads."""
    kept, depth = [], 0
    for token in _TOKEN.findall(line):
        opens, closes = token in ("[", "{"), token in ("]", "}")
        depth += opens
        if depth <= _DEEPEST:
            kept.append(token)
        elif opens and depth == _DEEPEST + 1:
            kept.append("null")
        depth -= closes
    return "".join(kept)
