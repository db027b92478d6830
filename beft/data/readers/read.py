"""Read the columns that a task needs from csv, jsonl or parquet: the same rows, the same values."""

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from beft.data.readers.csv_file import check_quotes, read_csv
from beft.data.readers.jsonl_file import read_jsonl
from beft.data.readers.parquet_file import read_parquet
from beft.data.readers.rows import Rows
from beft.errors import UserError, one_line
from beft.tasks import Task
from beft.tasks.labels import fits
from beft.tasks.words import column_of

# What readers raise where content is damaged, too large, or nested too deeply.
_DAMAGES = (*(pa.ArrowException, OSError, ValueError, OverflowError, MemoryError, RecursionError),)
NAMES = {".parquet": "parquet", ".jsonl": "JSON lines", ".csv": "UTF-8 csv"}


def columns_of(task: Task) -> list[str]:
    """The columns of a file that a task reads; the label, if it has one, is the last."""
    columns = dict.fromkeys(column_of(path, holds) for path, holds in task.reads().items())
    return [*columns, *([task.label] if task.label else [])]


def read_rows(data: bytes, suffix: str, task: Task, origin: str) -> Rows:
    """Reads the columns of a task. What a file holds in others cannot be wrong.

    Args:
        data: the content of the file.
        suffix: .csv, .jsonl or .parquet.
        task: the task that reads it.
        origin: the name of the file, for messages.

    Raises:
        UserError: if the content is not of this format.
    """
    columns = columns_of(task)
    with refused(origin, NAMES[suffix]):
        if suffix == ".parquet":
            return read_parquet(data, columns)
        # Bytes that are not UTF-8 are wrong only where the task reads them: `normalise` checks.
        text = decoded(data, "surrogateescape")
        if suffix == ".jsonl":
            return read_jsonl(text, columns)
        rows = read_csv(text, columns)
        check_quotes(rows, columns[-1], lambda label: fits(label, task.labels))
        return rows


@contextmanager
def refused(origin: str, name: str) -> Iterator[None]:
    """Says in one line which file is not readable as which format, and why."""
    try:
        yield
    except _DAMAGES as error:
        detail = one_line(error, 300) or "it is too large for the memory"
        raise UserError(f"{origin}: not readable as {name} ({detail})") from None


def decoded(data: bytes, errors: str = "strict") -> str:
    """Text of a file, which has to be UTF-8.

    Raises:
        ValueError: naming the line that is not, unless `errors` keeps it.
    """
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or 0 in data[:2]:
        raise ValueError("it begins as UTF-16 does; save it as UTF-8")
    try:
        return data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", errors)
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"line {line} is not UTF-8; save it as UTF-8 (in Excel: CSV UTF-8)"
        ) from None
