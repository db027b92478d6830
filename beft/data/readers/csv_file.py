"""Read columns of a csv as texts, and refuse quotes that would merge rows."""

import csv
import io
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from beft.data.readers.rows import Rows

# A field as it is written, and the comma behind it.
_FIELD = re.compile(r'("(?:[^"]|"")*+"|[^,]*)(?:,|$)')
_NOT_UTF8 = re.compile("[\udc80-\udcff]")
_REMEDY = 'write a quote in a text as "", and quotes around the whole text'


def read_csv(text: str, columns: Sequence[str], is_label: Callable[[str], bool]) -> Rows:
    """Reads columns of a csv with commas, as RFC 4180 describes it.

    A field without any character is a missing value; one of two quotes is an empty text.

    Args:
        text: the csv; its first row names the columns.
        columns: the columns to read; the last one holds labels.
        is_label: whether a text may be a label. It tells rows that stray quotes have merged from a
            text of several lines.

    Raises:
        ValueError: naming the line that is wrong.
    """
    csv.field_size_limit(sys.maxsize)
    record: list[str] = []  # the lines of the current row
    records = _records(text, record)
    _, header = next(records, (1, []))
    if not header:
        raise ValueError("the file is empty")
    if len(header) == 1:
        raise ValueError("line 1 names one column only; separate columns by commas")
    if _NOT_UTF8.search("".join(header)):
        raise ValueError("line 1: a column's name is not UTF-8")
    where = {name: header.index(name) for name in columns if header.count(name) == 1}
    label = where.get(columns[-1])
    values: dict[str, list[Any]] = {name: [] for name in where}
    starts = []
    for start, fields in records:
        if len(fields) != len(header):
            raise ValueError(f"line {start}: {len(fields)} fields, but line 1 has {len(header)}")
        if len(record) > 1 and label is not None and _merged(record, len(header), label, is_label):
            raise ValueError(
                f"line {start}: a quote opens here and takes in the rows of the lines up to "
                f"{start + len(record) - 1}; {_REMEDY}"
            )
        starts.append(start)
        for name, index in where.items():
            value = fields[index]
            values[name].append(value if value or _quoted(record, index) else None)
    lines = sum(1 for _ in io.StringIO(text, newline=""))
    return Rows(values, header, len(starts), starts, lines)


def _records(text: str, record: list[str]) -> Iterator[tuple[int, list[str]]]:
    """Gives each row: the number of the line in which it begins, and its fields.

    Args:
        text: the csv.
        record: it holds the lines of the row that was given last.
    """

    def lines() -> Iterator[str]:
        for line in io.StringIO(text, newline=""):
            record.append(line)
            yield line

    reader = csv.reader(lines(), strict=True)
    start = 1
    try:
        for fields in reader:
            if fields:
                yield start, fields
            record.clear()
            start = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"line {start}: {_explained(str(error), reader.line_num)}") from None


def _explained(error: str, line: int) -> str:
    """What is wrong with the quotes of a row that ends in a line, in words of the user."""
    if "unexpected end" in error:
        return f"a quote opens here and is never closed; {_REMEDY}"
    if "expected after" in error:
        return f"a quote opens here, and text follows the next one (line {line}); {_REMEDY}"
    return error


def _merged(record: Sequence[str], width: int, label: int, is_label: Callable[[str], bool]) -> bool:
    """Whether each line of a row of several lines looks like a row of its own."""
    pieces = [line.rstrip("\r\n").split(",") for line in record if line.strip()]
    return all(len(piece) == width and is_label(piece[label].strip('"')) for piece in pieces)


def _quoted(record: Sequence[str], index: int) -> bool:
    """Whether an empty field is written as two quotes."""
    return _FIELD.findall("".join(record).rstrip("\r\n"))[index] == '""'
