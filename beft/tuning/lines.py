"""Read the rows of csv and of JSON lines one by one, in bounded memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from beft.data.readers.csv_file import records, sniffed
from beft.data.readers.jsonl_file import decoder_of_rows, row_of
from beft.data.readers.read import decoded

LONGEST = 2**26  # characters of a row, at most
HEAD = 2**20  # characters of a csv that its delimiter is found by


@dataclass(frozen=True)
class Lines:
    """A file of text."""

    path: Path
    delimiter: str = ","  # of csv
    skipped: int = 0  # characters at the beginning that only name the delimiter


def csv_lines(path: Path) -> Lines:
    """A csv, with its delimiter.

    Raises:
        ValueError: it is not UTF-8, or several delimiters fit.
    """
    with _opened(path) as file:
        try:
            head = file.read(HEAD)
        except UnicodeDecodeError:
            raise ValueError(_not_utf8(path)) from None
    if len(head) == HEAD:  # its last row may not be whole
        head = head[: head.rfind("\n") + 1] or head
    rest, delimiter = sniffed(head)
    return Lines(path, delimiter, len(head) - len(rest))


def records_of(lines: Lines) -> Iterator[tuple[int, list[str]]]:
    """The rows of a csv, the header first: the line in which each begins, and its fields.

    Raises:
        ValueError: naming the line that is wrong.
    """
    record: list[str] = []  # the lines of the current row
    width = 0
    for line, fields in records(_bounded(lines, record), record, lines.delimiter):
        width = width or len(fields)
        if len(fields) != width:
            raise ValueError(f"line {line}: {len(fields)} fields, but the first row has {width}")
        yield line, fields


def objects_of(lines: Lines) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """The rows of JSON lines: the number of the line, its text, and what it holds.

    Raises:
        ValueError: naming the line that is wrong.
    """
    decoder = decoder_of_rows()
    for number, line in enumerate(_bounded(lines), start=1):
        if line.strip():
            yield number, line, row_of(line, number, decoder)


def _opened(path: Path) -> IO[str]:
    with path.open("rb") as file:
        decoded(file.read(2), "replace")  # raises where these begin a text of UTF-16
    return path.open(encoding="utf-8-sig", newline="")


def _bounded(lines: Lines, record: Sequence[str] = ()) -> Iterator[str]:
    """The lines of a file, unless a row is too long.

    Args:
        record: the lines that a reader has kept of the current row.
    """
    number, size = 1, 0
    with _opened(lines.path) as file:
        try:
            file.read(lines.skipped)
            while line := file.readline(LONGEST):
                size = len(line) + (size if record else 0)
                if size >= LONGEST:
                    raise ValueError(
                        f"line {number}: its row has more than {LONGEST:,} characters; is a quote "
                        "never closed?"
                    )
                yield line
                number += 1
        except UnicodeDecodeError:
            raise ValueError(_not_utf8(lines.path)) from None


def _not_utf8(path: Path) -> str:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return f"line {number} is not UTF-8; save the file as UTF-8"
    return "it was changed while it was read; try again"
