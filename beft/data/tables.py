"""Read and write tables, and check the folder of a fetched dataset."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

from beft.errors import UserError, one_line
from beft.store.files import flaw, read_json


def table_digest(table: pa.Table) -> str:
    """SHA-256 of a table's content; how parquet encodes it makes no difference."""
    return hashlib.sha256(repr(table.to_pydict()).encode()).hexdigest()


def read_table(path: Path, text: Iterable[str] = ()) -> pa.Table:
    """Reads a parquet, jsonl or csv file, whose suffix names the format.

    Args:
        text: columns to read as text, because a csv file does not say whether `007` is a number.

    Raises:
        UserError: if the file is damaged or is not UTF-8.
    """
    try:
        if path.suffix == ".parquet":
            table = pq.read_table(path)
        elif path.suffix == ".jsonl":
            table = pyarrow.json.read_json(path)
        else:
            convert = pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(text, pa.string()),
                strings_can_be_null=False,
                null_values=[""],
            )
            parse = pyarrow.csv.ParseOptions(newlines_in_values=True)
            table = pyarrow.csv.read_csv(path, convert_options=convert, parse_options=parse)
        table.validate(full=True)  # text that is not UTF-8 is found here, not while training
        _ = table.column_names
        return table
    except (pa.ArrowException, OSError, ValueError) as error:
        kind = {".parquet": "parquet", ".jsonl": "JSON lines", ".csv": "UTF-8 csv"}[path.suffix]
        detail = one_line(error, 200)
        raise UserError(f"{path}: not readable as {kind} ({detail})") from None


def parquet_bytes(table: pa.Table) -> bytes:
    """The table as the bytes of a parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue().to_pybytes()


def check_source(folder: Path, task: str) -> None:
    """Checks that the dataset of a task has been fetched to a folder and is undamaged.

    Raises:
        UserError: if a file is missing or differs from its checksum.
    """
    if problem := flaw(folder):
        raise UserError(f"{folder}: {problem}; run 'beft fetch --task {task}' again")


def split_checksums(folder: Path) -> dict[str, str]:
    """The SHA-256 of each normalised split of a fetched dataset, by file name."""
    sums = read_json(folder / "checksums.json")
    return {name: value for name, value in sums.items() if name.endswith(".parquet")}
