"""Read and write tables, and check the folder of a fetched dataset."""

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from beft.errors import UserError, one_line
from beft.store.inputs import source_flaw


def table_digest(table: pa.Table) -> str:
    """SHA-256 of a table's content; how parquet encodes it makes no difference."""
    return hashlib.sha256(repr(table.to_pydict()).encode()).hexdigest()


def read_table(path: Path) -> pa.Table:
    """Reads a parquet file.

    Raises:
        UserError: if the file is damaged.
    """
    try:
        table = pq.read_table(path)
        table.validate(full=True)  # text that is not UTF-8 is found here, not while training
        _ = table.column_names
        return table
    except (pa.ArrowException, OSError, ValueError) as error:
        detail = one_line(error, 200)
        raise UserError(f"{path}: not readable as parquet ({detail})") from None


def parquet_bytes(table: pa.Table) -> bytes:
    """The table as the bytes of a parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue().to_pybytes()


def check_source(folder: Path, task: str) -> None:
    """Checks that a folder holds the dataset of a task that its name says, undamaged.

    Raises:
        UserError: if a file is missing or differs from its checksum, or is of another dataset.
    """
    if problem := source_flaw(folder):
        raise UserError(f"{folder}: {problem}; run 'beft fetch --task {task}' again")
