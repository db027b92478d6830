"""Read all columns of an Excel workbook, whose content may be anything: values only, bounded."""

import io
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterator
from typing import Any

from beft.data.readers.rows import Rows
from beft.data.readers.values import plain

_LARGEST = 500 * 2**20  # bytes of the workbook when it is unpacked
_ROWS, _CELLS = 2**20, 50_000_000  # Excel has no more rows; the cells are those that are looked at


def read_xlsx(data: bytes) -> Rows:
    """Reads the one sheet that is not empty; its first row that is not empty names the columns.

    Cells hold the values that Excel saved, also for formulas. Cells with an error are missing
    values.

    Raises:
        ValueError: if the file is damaged or too large, or several sheets are not empty.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(part.file_size for part in archive.infolist())
        if size > _LARGEST:
            raise ValueError(f"it unpacks to more than {_LARGEST // 2**20} MiB")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what no value depends on, such as extensions
            return _first_sheet(data)
    except (ValueError, MemoryError):
        raise
    except Exception as error:  # openpyxl lets through whatever damaged content causes
        raise ValueError(f"{type(error).__name__}: {error}") from None


def _first_sheet(data: bytes) -> Rows:
    import openpyxl

    book = openpyxl.load_workbook(
        io.BytesIO(data), read_only=True, data_only=True, keep_links=False
    )
    filled = [sheet for sheet in book.worksheets if next(_cells(sheet), None)]
    if not filled:
        raise ValueError("the file is empty")
    if len(filled) > 1:
        names = ", ".join(f"'{sheet.title}'" for sheet in filled)
        raise ValueError(f"the sheets {names} are not empty; save the one that is meant by itself")
    rows = _cells(filled[0])
    first, cells = next(rows)
    header = ["" if cell is None else str(cell) for cell in cells]
    values: list[list[Any]] = [[] for _ in header]
    starts = []
    for number, cells in rows:
        if len(cells) > len(header):
            raise ValueError(
                f"line {number}: {len(cells)} columns, but line {first} names {len(header)}"
            )
        starts.append(number)
        for column, cell in zip(values, cells + [None] * (len(header) - len(cells)), strict=True):
            column.append(cell)
    counts = Counter(header)
    columns = {
        name: column for name, column in zip(header, values, strict=True) if counts[name] == 1
    }
    return Rows(columns, header, len(starts), starts)


def _cells(sheet: Any) -> Iterator[tuple[int, list[Any]]]:
    """Gives each row that is not empty: its number, and its values up to the last one."""
    sheet.reset_dimensions()  # which the file may claim at will
    looked = 0
    for number, row in enumerate(sheet.iter_rows(), start=1):
        looked += len(row)
        if number > _ROWS or looked > _CELLS:
            raise ValueError(f"sheet '{sheet.title}' is too large")
        cells = [None if cell.data_type == "e" else plain(cell.value) for cell in row]
        while cells and cells[-1] is None:
            cells.pop()
        if cells:
            yield number, cells
