"""What a reader makes of a file: some or all of its columns, as Python values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa


@dataclass(frozen=True)
class Several:
    """A row of several lines, each of which could be a row by itself."""

    last: int  # the number of its last line
    lines: Sequence[Sequence[str]]  # the fields of each line that is not blank


@dataclass(frozen=True)
class Rows:
    """Some or all columns of a file.

    A value is a text, a `Number`, a boolean, a list, a dict, or None where it is missing. A text
    that is not UTF-8 holds surrogates.
    """

    columns: dict[str, list[Any]]  # those that were asked for and are there once
    names: Sequence[str]  # all columns of the file
    count: int
    starts: Sequence[int] = ()  # the line in which each row begins; empty where there are no lines
    lines: int | None = None  # how many lines the file has; None where it has none
    classes: tuple[str, ...] = ()  # what the file itself calls the numbers of its label column
    whole: pa.Table | None = None  # every column, of a dataset whose other columns are kept
    several: Mapping[int, Several] = field(default_factory=dict)  # rows that quotes may have merged
    origin: str = "data"  # the name of the file, for messages

    def place(self, row: int) -> str:
        """Where a row is, for messages."""
        return f"row {row} (line {self.starts[row]})" if self.starts else f"row {row}"


class Twice:
    """Stands for the values of a key that one JSON object names more than once."""
