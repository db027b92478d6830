"""Read a labelled file of any usual format: all of its columns, as texts, numbers and booleans."""

from pathlib import Path

from beft.data.readers.rows import Rows

SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".parquet", ".xlsx")


def read_file(path: Path) -> Rows:
    """Reads all columns of a file; its format follows from its suffix.

    Raises:
        UserError: if the file is missing, too large, or not of this format.
    """
    raise NotImplementedError


def from_frame(frame: object, name: str) -> Rows:
    """Reads all columns of a pandas DataFrame, a list of dicts or a dict of lists.

    Args:
        frame: the data.
        name: what messages call it.

    Raises:
        UserError: if it is none of these, or its columns differ in length.
    """
    raise NotImplementedError
