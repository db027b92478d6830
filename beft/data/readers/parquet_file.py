"""Read columns of parquet, and tables in memory, as the values that JSON would hold."""

import datetime
import decimal
import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from beft.data.readers.rows import Rows
from beft.tasks.labels import Number


def read_parquet(data: bytes, columns: Sequence[str]) -> Rows:
    """Reads columns of a parquet file; the last one holds labels.

    Raises:
        ValueError, OSError, pyarrow.ArrowException: if it is damaged.
    """
    file = pq.ParquetFile(pa.BufferReader(data))
    schema = file.schema_arrow
    there = [name for name in columns if schema.names.count(name) == 1]
    table = file.read(columns=there).select(there)
    table.validate(full=True)  # text that is not UTF-8 is found here
    values = {name: _values(table[name]) for name in there}
    return Rows(
        values, schema.names, file.metadata.num_rows, classes=classes_of(schema, columns[-1])
    )


def rows_of(table: pa.Table, columns: Sequence[str], classes: Sequence[str] = ()) -> Rows:
    """The rows of a table in memory, whose other columns are kept.

    Args:
        table: the table.
        columns: the columns to read.
        classes: what the table calls the numbers of its label column.
    """
    names = table.column_names
    values = {name: _values(table[name]) for name in columns if names.count(name) == 1}
    return Rows(values, names, table.num_rows, classes=tuple(classes), whole=table)


def classes_of(schema: pa.Schema, column: str) -> tuple[str, ...]:
    """The classes of a column of numbers, where Hugging Face datasets has named them."""
    try:
        feature = json.loads(schema.metadata[b"huggingface"])["info"]["features"][column]
        names = feature["names"] if feature["_type"] == "ClassLabel" else []
        return tuple(map(str, names))
    except (KeyError, TypeError, ValueError, RecursionError):
        return ()


def _values(column: pa.ChunkedArray) -> list[Any]:
    values = column.to_pylist()
    if pa.types.is_float16(column.type) or pa.types.is_float32(column.type):
        # numpy writes 0.1 where the same number as a double is 0.10000000149011612
        kind = column.type.to_pandas_dtype()
        return [None if v is None or v != v else Number(kind(v)) for v in values]
    return [_value(value) for value in values]


def _value(value: Any) -> Any:
    """A value as JSON would hold it; NaN is a missing value."""
    match value:
        case None | bool() | str():
            return value
        case float():
            return Number(value) if value == value else None
        case int() | decimal.Decimal():
            return Number(value)
        case list():
            return [_value(each) for each in value]
        case dict():
            return {key: _value(each) for key, each in value.items()}
        case datetime.datetime():
            return str(value).removesuffix(" 00:00:00")
        case datetime.date():
            return str(value)
    return value
