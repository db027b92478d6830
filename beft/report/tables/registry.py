"""The tables of a study by name."""

import inspect
from collections.abc import Callable
from dataclasses import replace

from beft.report.analysis import precision
from beft.report.frames.schema import Frames
from beft.report.tables.comparisons import comparisons
from beft.report.tables.extension import extension
from beft.report.tables.inert import inert
from beft.report.tables.ranks import ranks
from beft.report.tables.selection import selection
from beft.report.tables.selectors import selectors
from beft.report.tables.settled import settled
from beft.report.tables.table import Table
from beft.report.tables.table1 import table1, table1_last
from beft.report.tables.table2 import table2
from beft.report.tables.table3 import table3
from beft.report.tables.table4 import table4
from beft.report.tables.table5 import table5, table6


def by_epoch(name: str, frames: Frames) -> dict[str, Table]:
    """A table from the best and from the last epoch of each run.

    Returns:
        `best` and `last`, both from the same function; only `any` of a table that does not
        depend on the epoch.
    """
    if "column" not in inspect.signature(TABLES[name]).parameters:
        return {"any": made(name, frames)}
    return {"best": made(name, frames), "last": made(name, frames, "last")}


def made(name: str, frames: Frames, *column: str) -> Table:
    """A table, with a note on runs whose precision differs.

    Args:
        column: `best` or `last`, for tables that depend on the epoch.
    """
    table = TABLES[name](frames, *column)
    return replace(table, notes=(*table.notes, *precision.notes(frames, table.tidy)))


TABLES: dict[str, Callable[..., Table]] = {
    "table1": table1,
    "table1_last": table1_last,
    "table2": table2,
    "table3": table3,
    "table4": table4,
    "table5": table5,
    "table6": table6,
    "selection": selection,
    "selectors": selectors,
    "settled": settled,
    "comparisons": comparisons,
    "inert": inert,
    "ranks": ranks,
    "extension": extension,
}
