"""Read columns of a csv as texts, and refuse quotes that would merge rows."""

import csv
import io
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from beft.data.readers.rows import Rows, Several

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
# What Excel writes into a first line to name the delimiter.
_NAMED = re.compile(r"sep=(.)(?=\r?\n|\r)", re.IGNORECASE)
_NOT_UTF8 = re.compile("[\udc80-\udcff]")
_REMEDY = 'write a quote in a text as "", and quotes around the whole text'


def read_csv(text: str, columns: Sequence[str] | None = None, delimiter: str = ",") -> Rows:
    """Reads columns of a csv, as RFC 4180 describes it.

    A field without any character is a missing value; one of two quotes is an empty text.

    Args:
        text: the csv; its first row names the columns.
        columns: the columns to read; None for all.
        delimiter: what stands between two fields.

    Raises:
        ValueError: naming the line that is wrong.
    """
    record: list[str] = []  # the lines of the current row
    rows = records(io.StringIO(text, newline=""), record, delimiter)
    first, header = next(rows, (1, []))
    if not header:
        raise ValueError("the file is empty")
    if len(header) == 1 and columns is not None:
        names = DELIMITERS[delimiter]
        raise ValueError(f"line {first} names one column only; separate columns by {names}")
    if _NOT_UTF8.search("".join(header)):
        raise ValueError(f"line {first}: a column's name is not UTF-8")
    wanted = header if columns is None else columns
    counts = Counter(header)
    places = {name: index for index, name in enumerate(header)}
    where = {name: places[name] for name in wanted if counts[name] == 1}
    values: dict[str, list[Any]] = {name: [] for name in where}
    starts: list[int] = []
    several = {}
    empty = re.escape(delimiter)
    written = re.compile(rf'("(?:[^"]|"")*+"|[^{empty}]*)(?:{empty}|$)')
    for start, fields in rows:
        if len(fields) != len(header):
            told = f"line {start}: {len(fields)} fields, but line {first} has {len(header)}"
            more = f"; put quotes around a text with {DELIMITERS[delimiter]}"
            raise ValueError(told + more if len(fields) > len(header) else told)
        if len(record) > 1:
            pieces = [line.rstrip("\r\n").split(delimiter) for line in record if line.strip()]
            if all(len(piece) == len(header) for piece in pieces):
                several[len(starts)] = Several(start + len(record) - 1, pieces)
        # An empty field is a text if it is written as two quotes.
        raw = fields if all(fields) else written.findall("".join(record).rstrip("\r\n"))
        for name, index in where.items():
            values[name].append(fields[index] if raw[index] else None)
        starts.append(start)
    lines = sum(1 for _ in io.StringIO(text, newline=""))
    return Rows(values, header, len(starts), starts, lines, several=several)


def sniffed(text: str) -> tuple[str, str]:
    """A csv and its delimiter: the one of which every row has as many as the first.

    Where the first line only names the delimiter, as Excel writes it, that line is emptied.

    Raises:
        ValueError: if every row fits more than one delimiter.
    """
    if (named := _NAMED.match(text)) and named[1] in DELIMITERS:
        return text[named.end() :], named[1]
    fitting = [delimiter for delimiter in DELIMITERS if _fits(text, delimiter)]
    if len(fitting) > 1:
        names = " or by ".join(DELIMITERS[delimiter] for delimiter in fitting)
        raise ValueError(
            f"columns may be separated by {names}: every row fits; put quotes around texts"
        )
    if fitting:
        return text, fitting[0]
    # None fits, so that reading with the likeliest one names the line that is wrong.
    head = text.lstrip("\r\n").partition("\n")[0]
    return text, max(DELIMITERS, key=head.count)


def check_quotes(rows: Rows, label: str, is_label: Callable[[str], bool]) -> None:
    """Refuses rows of several lines where each line looks like a row with a label.

    Args:
        rows: what `read_csv` read.
        label: the column of labels.
        is_label: whether a text may be a label. It tells rows that stray quotes have merged from a
            text of several lines.

    Raises:
        ValueError: naming the line in which such a row begins.
    """
    if rows.several and list(rows.names).count(label) == 1:
        index = list(rows.names).index(label)
        for row, several in rows.several.items():
            if all(is_label(fields[index].strip('"')) for fields in several.lines):
                raise ValueError(
                    f"line {rows.starts[row]}: a quote opens here and takes in the rows of the "
                    f"lines up to {several.last}; {_REMEDY}"
                )


def _fits(text: str, delimiter: str) -> bool:
    """Whether a delimiter makes two columns or more, and as many in each row."""
    rows = records(io.StringIO(text, newline=""), [], delimiter)
    try:
        width = len(next(rows, (1, []))[1])
        return width > 1 and all(len(fields) == width for _, fields in rows)
    except ValueError:
        return False


def records(
    lines: Iterable[str], record: list[str], delimiter: str
) -> Iterator[tuple[int, list[str]]]:
    """Gives each row: the number of the line in which it begins, and its fields.

    Args:
        lines: those of the csv, with their ends.
        record: it holds the lines of the row that was given last.
        delimiter: what stands between two fields.
    """

    def kept() -> Iterator[str]:
        for line in lines:
            record.append(line)
            yield line

    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(kept(), strict=True, delimiter=delimiter)
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
