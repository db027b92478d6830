"""Read columns of parquet, and tables in memory, as the values that JSON would hold."""

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from beft.data.readers.rows import Rows
from beft.data.readers.values import plain
from beft.tasks.labels import Number, spelt

_BATCH = 1000  # rows that are unpacked at a time where a file has to be small
_LARGEST = 2**31  # bytes of such a file in memory


def read_parquet(data: bytes, columns: Sequence[str] | None = None) -> Rows:
    """Reads columns of a parquet file; the last one holds labels.

    None reads all columns of a file that is not too large for that. Where it names the classes of
    a column of numbers, it gives their names.

    Raises:
        ValueError, OSError, pyarrow.ArrowException: if it is damaged.
    """
    file = pq.ParquetFile(pa.BufferReader(data))
    schema = file.schema_arrow
    wanted = schema.names if columns is None else columns
    there = [name for name in wanted if len(schema.get_all_field_indices(name)) == 1]
    table = file.read(columns=there) if columns is not None else _bounded(file, there)
    table = table.select(there)
    table.validate(full=True)  # text that is not UTF-8 is found here
    values = {
        name: _values(table[name]) if columns else values_of(table[name], schema, name)
        for name in there
    }
    classes = classes_of(schema, columns[-1]) if columns else ()
    return Rows(values, schema.names, file.metadata.num_rows, classes=classes)


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


def _bounded(file: pq.ParquetFile, columns: Sequence[str]) -> pa.Table:
    """Unpacks little by little, since a file of kilobytes may hold any number of bytes."""
    tables, size = [file.schema_arrow.empty_table().select(columns)], 0
    for batch in file.iter_batches(_BATCH, columns=columns):
        table = pa.Table.from_batches([batch]).select(columns)
        for index, column in enumerate(table.columns):
            if pa.types.is_dictionary(column.type):  # its values, as often as they occur
                table = table.set_column(index, columns[index], column.cast(column.type.value_type))
        size += table.nbytes
        if size > _LARGEST:
            raise ValueError(f"it unpacks to more than {_LARGEST // 2**20} MiB")
        tables.append(table)
    return pa.concat_tables(tables[1:] or tables)


def values_of(column: pa.ChunkedArray, schema: pa.Schema, name: str) -> list[Any]:
    """The values of a column, by the names of its classes where the file has some."""
    return _named(_values(column), classes_of(schema, name))


def _named(values: list[Any], classes: Sequence[str]) -> list[Any]:
    """The values of a column, by their names where it has some; -1 is a missing label."""
    if not classes:
        return values
    names = {"-1": None, **{str(number): name for number, name in enumerate(classes)}}
    return [names.get(spelt(value), value) for value in values]


def _values(column: pa.ChunkedArray) -> list[Any]:
    values = column.to_pylist()
    if pa.types.is_float16(column.type) or pa.types.is_float32(column.type):
        # numpy writes 0.1 where the same number as a double is 0.10000000149011612
        kind = column.type.to_pandas_dtype()
        return [None if v is None or v != v else Number(kind(v)) for v in values]
    return [plain(value) for value in values]
