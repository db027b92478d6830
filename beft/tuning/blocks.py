"""Read a table of any size block by block: every column as its file has it."""

import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from beft.data.readers.parquet_file import values_of
from beft.data.readers.read import refused
from beft.errors import UserError
from beft.tuning.files import SUFFIXES, read_file
from beft.tuning.lines import Lines, csv_lines, objects_of, records_of

ROWS = 4096  # of a block, at most
SIZE = 2**23  # characters of a block that is full; bytes of parquet
MOST = 1000  # columns of JSON lines


@dataclass(frozen=True)
class Block:
    """Consecutive rows of a table."""

    first: int  # the number of the first row, from 0
    rows: int
    column: Callable[[str], list[Any]]  # the values of a column, as in `Rows`
    # the rows as their format has them: fields of csv, lines of JSON, a record batch of parquet
    whole: Any
    lines: Sequence[int] = ()  # the line in which each row begins; empty where there are none

    def place(self, row: int) -> str:
        """Where a row of the block is, for messages."""
        found = f"row {self.first + row}"
        return f"{found} (line {self.lines[row]})" if self.lines else found


@dataclass(frozen=True)
class Table:
    """A file of rows and columns."""

    path: Path
    kind: str  # csv, jsonl, parquet; or rows: another format, which is read whole
    names: tuple[str, ...]  # of its columns
    rows: int
    # how it is read: `Lines`, the schema of parquet, or `Rows` that were read whole
    source: Any

    def blocks(self) -> Iterator[Block]:
        """The rows, in order.

        Raises:
            UserError: a row cannot be read.
        """
        made = {"csv": _csv, "jsonl": _jsonl, "parquet": _parquet, "rows": _slices}
        with refused(str(self.path), self.kind):
            yield from made[self.kind](self)


def open_table(path: Path) -> Table:
    """Finds out what a file holds. It is read once, so that whatever is wrong in it shows at once.

    Raises:
        UserError: it is no file, has no rows, or is not readable as what its suffix says.
    """
    suffix = path.suffix.lower()
    try:
        regular = stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: it cannot be read ({error})") from None
    if not regular:
        raise UserError(f"{path}: it is not a file; give one that ends in {', '.join(SUFFIXES)}")
    with refused(str(path), suffix.removeprefix(".")):
        if suffix == ".parquet":
            with pq.ParquetFile(path) as file:
                schema, rows = file.schema_arrow, file.metadata.num_rows
            table = Table(path, "parquet", tuple(schema.names), rows, schema)
        elif suffix == ".jsonl":
            lines = Lines(path)
            table = Table(path, "jsonl", *_keys(lines), lines)
        elif suffix in (".csv", ".tsv"):
            lines = csv_lines(path)
            table = Table(path, "csv", *_header(lines), lines)
        else:
            small = read_file(path)
            table = Table(path, "rows", tuple(small.names), small.count, small)
    if not table.rows:
        raise UserError(f"{path}: it has no rows")
    return table


def _header(lines: Lines) -> tuple[tuple[str, ...], int]:
    """The names of a csv's columns, and the number of its rows."""
    rows = records_of(lines)
    header = next(rows, (1, []))[1]
    if not header:
        raise ValueError("the file is empty")
    return tuple(header), sum(1 for _ in rows)


def _keys(lines: Lines) -> tuple[tuple[str, ...], int]:
    """The keys of all rows of JSON lines, and the number of rows."""
    names: dict[str, None] = {}
    count = 0
    for _, _, row in objects_of(lines):
        names |= dict.fromkeys(row)
        count += 1
        if len(names) > MOST:
            raise ValueError(f"its rows have more than {MOST} different keys")
    return tuple(names), count


def _csv(table: Table) -> Iterator[Block]:
    def column(rows: list[list[str]], name: str) -> list[Any]:
        place = table.names.index(name)
        return [fields[place] or None for fields in rows]

    rows = records_of(table.source)
    next(rows, None)
    first = 0
    for group in _grouped((line, fields, sum(map(len, fields))) for line, fields in rows):
        lines, whole = [line for line, _ in group], [fields for _, fields in group]
        yield Block(first, len(group), partial(column, whole), whole, lines)
        first += len(group)


def _jsonl(table: Table) -> Iterator[Block]:
    def column(group: list[tuple[int, Any]], name: str) -> list[Any]:
        return [row.get(name) for _, (_, row) in group]

    first = 0
    for group in _grouped((n, (text, row), len(text)) for n, text, row in objects_of(table.source)):
        lines, whole = [line for line, _ in group], [text for _, (text, _) in group]
        yield Block(first, len(group), partial(column, group), whole, lines)
        first += len(group)


def _parquet(table: Table) -> Iterator[Block]:
    def column(batch: pa.RecordBatch, name: str) -> list[Any]:
        return values_of(batch.column(table.names.index(name)), table.source, name)

    first = 0
    with pq.ParquetFile(table.path) as file:
        groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
        width = max((g.total_byte_size / max(g.num_rows, 1) for g in groups), default=0)
        for batch in file.iter_batches(max(1, min(ROWS, int(SIZE / max(width, 1))))):
            batch.validate(full=True)  # text that is not UTF-8 is found here
            yield Block(first, len(batch), partial(column, batch), batch)
            first += len(batch)


def _slices(table: Table) -> Iterator[Block]:
    columns, starts = table.source.columns, table.source.starts
    for first in range(0, table.rows, ROWS):
        last = min(first + ROWS, table.rows)

        def column(name: str, part: slice = slice(first, last)) -> list[Any]:
            return columns[name][part]

        yield Block(first, last - first, column, None, starts[first:last])


def _grouped(rows: Iterable[tuple[int, Any, int]]) -> Iterator[list[tuple[int, Any]]]:
    """Rows, each with its line and its size, in groups that are neither too many nor too large."""
    group: list[tuple[int, Any]] = []
    total = 0
    for line, row, size in rows:
        group.append((line, row))
        total += size
        if len(group) >= ROWS or total >= SIZE:
            yield group
            group, total = [], 0
    if group:
        yield group
