"""Read a labelled file of any usual format: all of its columns, as texts, numbers and booleans."""

import stat
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from beft.data.readers.csv_file import read_csv, sniffed
from beft.data.readers.jsonl_file import gathered, read_array, read_jsonl
from beft.data.readers.parquet_file import read_parquet
from beft.data.readers.read import decoded, refused
from beft.data.readers.rows import Rows
from beft.data.readers.values import plain
from beft.data.readers.xlsx_file import read_xlsx
from beft.errors import UserError

_LARGEST = 2**30  # bytes of a file, all of whose columns are kept in memory
# How files of other formats begin, whatever their names say.
_OTHERS = {
    b"PK\x03\x04": "a zip archive or an Excel workbook",
    b"\xd0\xcf\x11\xe0": "a file of an old Excel, or one with a password",
    b"\x1f\x8b": "compressed by gzip",
    b"PAR1": "parquet",
}


def _csv(data: bytes) -> Rows:
    text, delimiter = sniffed(decoded(data))
    return read_csv(text, delimiter=delimiter)


def _json(data: bytes) -> Rows:
    text = decoded(data)
    if not text.lstrip().startswith("{"):
        return read_array(text)
    rows = read_jsonl(text)
    if rows.count == 1 and all(
        isinstance(value, list | dict) for (value,) in rows.columns.values()
    ):
        raise ValueError("it is one object of columns; write an array of objects, one for each row")
    return rows


# The format of each suffix, how it begins, and what reads it.
_FORMATS: dict[str, tuple[str, bytes, Callable[[bytes], Rows]]] = {
    ".csv": ("UTF-8 csv", b"", _csv),
    ".tsv": ("UTF-8 csv", b"", _csv),
    ".jsonl": ("JSON lines", b"", lambda data: read_jsonl(decoded(data))),
    ".json": ("a JSON array of objects", b"", _json),
    ".parquet": ("parquet", b"PAR1", read_parquet),
    ".xlsx": ("an Excel workbook", b"PK\x03\x04", read_xlsx),
}
SUFFIXES = tuple(_FORMATS)


def read_file(path: Path) -> Rows:
    """Reads all columns of a file; its format follows from its suffix.

    Raises:
        UserError: if the file is missing, too large, empty, or not of this format.
    """
    suffix = path.suffix.lower()
    if suffix == ".gz":
        raise UserError(f"{path}: compressed files are not read; unpack it first (gunzip)")
    if suffix not in _FORMATS:
        raise UserError(f"{path}: the format of '{path.name}' is not known; {_remedy()}")
    name, magic, read = _FORMATS[suffix]
    data = _content(path)
    with refused(str(path), name):
        for other, what in _OTHERS.items():
            if data.startswith(other) and other != magic:
                raise ValueError(f"it is {what}")
        rows = read(data)
    return _checked(replace(rows, origin=str(path)))


def from_frame(frame: object, name: str = "data") -> Rows:
    """Reads all columns of a pandas DataFrame, a list of dicts or a dict of lists.

    Args:
        frame: the data.
        name: what messages call it.

    Raises:
        UserError: if it is none of these, or its columns differ in length.
    """
    import pandas as pd

    if isinstance(frame, pd.DataFrame):
        names, columns = list(map(str, frame.columns)), _series(frame)
        count = len(frame)
    elif isinstance(frame, Mapping):
        names, columns = list(map(str, frame)), list(map(_listed, frame.values()))
        lengths = {column: len(values) for column, values in zip(names, columns, strict=True)}
        if len(set(lengths.values())) > 1:
            told = ", ".join(f"'{column}' {length}" for column, length in lengths.items())
            raise UserError(f"{name}: columns differ in length: {told}")
        count = next(iter(lengths.values()), 0)
    elif isinstance(frame, Sequence) and all(isinstance(row, Mapping) for row in frame):
        objects = ({str(key): value for key, value in row.items()} for row in frame)
        with refused(name, "a list of dicts"):
            found, names = gathered(objects, None)
        columns, count = list(found.values()), len(frame)
    else:
        raise UserError(
            f"{name}: give a file, a DataFrame, a list of dicts or a dict of lists, "
            f"not {type(frame).__name__}"
        )
    missing, counts = (pd.NA, pd.NaT), Counter(names)
    with refused(name, "a table"):
        values = {
            column: [None if any(value is m for m in missing) else plain(value) for value in given]
            for column, given in zip(names, columns, strict=True)
            if counts[column] == 1
        }
    return _checked(Rows(values, names, count, origin=name))


def _series(frame: Any) -> list[list[Any]]:
    """The values of each column, whose names need not differ."""
    return [_listed(frame.iloc[:, index]) for index in range(frame.shape[1])]


def _listed(values: Any) -> list[Any]:
    """The values of a column; none where it is a text or a single value."""
    try:
        if isinstance(values, str | bytes | Mapping):
            return []
        return list(getattr(values, "array", values))  # which keeps float32, as a Series does not
    except TypeError:
        return []


def _content(path: Path) -> bytes:
    """The bytes of a file that is one, and not too large to be read whole."""
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):
            raise UserError(f"{path}: it is not a file; {_remedy()}")
        if state.st_size > _LARGEST:
            raise UserError(f"{path}: files of more than {_LARGEST // 2**20} MiB are not read")
        return path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: it cannot be read ({error})") from None


def _checked(rows: Rows) -> Rows:
    if not rows.count:
        raise UserError(f"{rows.origin}: it has no rows")
    return rows


def _remedy() -> str:
    return f"give a file that ends in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"
