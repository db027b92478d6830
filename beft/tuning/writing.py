"""Write the rows of a table with further columns, as csv, tsv, JSON lines or parquet."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from beft.errors import UserError
from beft.store.files import replacing
from beft.tasks.labels import Number
from beft.tuning.blocks import Block, Table

KINDS = {".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".parquet": "parquet"}

Added = Mapping[str, list[Any]]  # column -> its values, texts or numbers, None where there is none
Write = Callable[[Block, Added], None]


def check_target(table: Table, target: Path, added: Mapping[str, type]) -> None:
    """Makes sure that a table can be written with these columns.

    Raises:
        UserError: the suffix is none that is written, or a column is there already, or two columns
            have one name where the format cannot have that.
    """
    if target.suffix.lower() not in KINDS:
        raise UserError(f"{target}: is not written; give a file that ends in {', '.join(KINDS)}")
    if taken := [name for name in added if name in table.names]:
        raise UserError(
            f"{table.path}: it has a column '{taken[0]}' already, which is to be added; rename or "
            "remove that column"
        )
    kind = KINDS[target.suffix.lower()]
    twice = [name for name in table.names if table.names.count(name) > 1]
    if twice and table.kind != kind:
        raise UserError(
            f"{table.path}: two columns are named '{twice[0]}'; rename one, or write --to a file "
            "of the same format"
        )


@contextmanager
def writing(table: Table, target: Path, added: Mapping[str, type]) -> Iterator[Write]:
    """A function that writes the blocks of a table, each with the columns that are added.

    The file takes its place when the context ends, whole or not at all.

    Args:
        added: the name of each column -> `str` or `float`.

    Raises:
        UserError: it cannot be written.
    """
    kind = KINDS[target.suffix.lower()]
    with replacing(target) as file:
        if kind == "parquet":
            with _parquet(table, file, added) as write:
                yield write
            return
        text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        if kind == "jsonl":
            yield lambda block, more: text.writelines(_json_lines(table, block, more))
        else:
            tabs = target.suffix.lower() == ".tsv"
            delimiter = "\t" if tabs else table.source.delimiter if table.kind == "csv" else ","
            if not tabs and delimiter == "\t":
                delimiter = ","
            writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
            writer.writerow([*table.names, *added])
            yield lambda block, more: writer.writerows(_fields(table, block, more))
        text.detach()


def as_text(value: Any) -> str:
    """A value as csv holds it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return str(value)
    if isinstance(value, float):
        return f"{value:.7g}"
    return json.dumps(_plain(value), ensure_ascii=False)


def _plain(value: Any) -> Any:
    """A value as JSON writes it."""
    if isinstance(value, Number):
        try:
            return json.loads(value)
        except ValueError:  # such as Infinity
            return str(value)
    if isinstance(value, float):
        return float(f"{value:.7g}")
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    return value if value is None or isinstance(value, str | bool | int) else str(value)


def _columns(table: Table, block: Block) -> list[list[Any]]:
    return [block.column(name) for name in table.names]


def _fields(table: Table, block: Block, added: Added) -> Iterator[list[str]]:
    more = zip(*added.values(), strict=True)
    if table.kind == "csv":
        rows = iter(block.whole)
    else:
        rows = (list(map(as_text, row)) for row in zip(*_columns(table, block), strict=True))
    for row, new in zip(rows, more, strict=True):
        yield [*row, *map(as_text, new)]


def _json_lines(table: Table, block: Block, added: Added) -> Iterator[str]:
    more = zip(*added.values(), strict=True)
    if table.kind == "jsonl":
        bodies = (line.strip().removesuffix("}").rstrip() for line in block.whole)
    else:
        rows = zip(*_columns(table, block), strict=True)
        bodies = (
            _dumped(dict(zip(table.names, row, strict=True))).removesuffix("}") for row in rows
        )
    for body, new in zip(bodies, more, strict=True):
        comma = "" if body == "{" else ", "
        yield body + comma + _dumped(dict(zip(added, new, strict=True)))[1:] + "\n"


def _dumped(row: Mapping[str, Any]) -> str:
    return json.dumps(_plain(row), ensure_ascii=False)


@contextmanager
def _parquet(table: Table, file: IO[bytes], added: Mapping[str, type]) -> Iterator[Write]:
    kinds = {str: pa.string(), float: pa.float64()}
    new = [pa.field(name, kinds[kind]) for name, kind in added.items()]
    schema = table.source
    if table.kind != "parquet":
        schema = pa.schema([pa.field(name, pa.string()) for name in table.names])
    whole = pa.schema([*schema, *new], metadata=schema.metadata)

    def write(block: Block, more: Added) -> None:
        if table.kind == "parquet":
            arrays = list(block.whole.columns)
        else:
            arrays = [
                pa.array([None if v is None else as_text(v) for v in column], pa.string())
                for column in _columns(table, block)
            ]
        arrays += [pa.array(more[f.name], f.type) for f in new]
        writer.write_batch(pa.record_batch(arrays, schema=whole))

    with pq.ParquetWriter(file, whole, compression="zstd") as writer:
        yield write
