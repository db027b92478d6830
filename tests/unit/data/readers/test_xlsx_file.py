"""Workbooks: values as they were saved, one sheet, and nothing that grows without bound."""

import datetime
import io
import zipfile

import openpyxl
import pytest

from beft.data.readers.xlsx_file import read_xlsx
from beft.tasks.labels import Number


def saved(*sheets: list[list]) -> bytes:
    """A workbook with these rows in its sheets."""
    book = openpyxl.Workbook()
    book.remove(book.active)
    for index, rows in enumerate(sheets):
        sheet = book.create_sheet(f"Sheet {index}")
        for row in rows:
            sheet.append(row)
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()


def changed(data: bytes, part: str, old: bytes, new: bytes) -> bytes:
    """A workbook with other bytes in one of its parts."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(made, "w") as copy:
        for name in archive.namelist():
            content = archive.read(name)
            assert name != part or old in content
            copy.writestr(name, content.replace(old, new) if name == part else content)
    return made.getvalue()


TABLE = [["text", "stars"], ["a, b", 1], ["two\nlines", 2.5]]
SHEET = "xl/worksheets/sheet1.xml"


def test_values_of_every_kind():
    rows = read_xlsx(
        saved([["a", "b", "c", None], [1, 1.0, True], [None, "007", datetime.date(2020, 1, 2)]])
    )
    assert rows.columns == {"a": ["1", None], "b": ["1", "007"], "c": [True, "2020-01-02"]}
    assert isinstance(rows.columns["a"][0], Number) and not isinstance(rows.columns["b"][1], Number)


def test_blank_rows_do_not_count_and_places_are_those_of_the_sheet():
    rows = read_xlsx(saved([[], *TABLE[:2], [], [None, None], TABLE[2]]))
    assert rows.columns == {"text": ["a, b", "two\nlines"], "stars": ["1", "2.5"]}
    assert [rows.place(row) for row in range(2)] == ["row 0 (line 3)", "row 1 (line 6)"]


def test_empty_sheets_do_not_count_but_two_that_are_not_are_named():
    assert read_xlsx(saved([], TABLE, [[]])).count == 2
    with pytest.raises(ValueError, match="the sheets 'Sheet 0', 'Sheet 2' are not empty"):
        read_xlsx(saved(TABLE, [], [["x"]]))
    with pytest.raises(ValueError, match="the file is empty"):
        read_xlsx(saved([]))


def test_columns_without_a_name_hold_nothing():
    with pytest.raises(ValueError, match="line 2: 3 columns, but line 1 names 2"):
        read_xlsx(saved([["text", "stars"], ["a", 1, "remark"]]))


def test_errors_are_missing_values_and_formulas_what_they_gave():
    data = saved([["text", "stars"], ["a", 17], ["b", 18]])
    data = changed(data, SHEET, b'<c r="B2" t="n"><v>17', b'<c r="B2" t="e"><v>#N/A')
    data = changed(data, SHEET, b"<v>18", b"<f>9+9</f><v>18")
    assert read_xlsx(data).columns["stars"] == [None, "18"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b'r="3"', b'r="99999999999"', "too large"),
        (b"</v>", b"</w>", "ParseError"),
        (b'<dimension ref="A1:B3"', b'<dimension ref="A1:XFD1048576"', None),
    ],
)
def test_what_a_workbook_claims_costs_nothing(old, new, message):
    data = changed(saved(TABLE), SHEET, old, new)
    if message is None:
        assert read_xlsx(data).count == 2
    else:
        with pytest.raises(ValueError, match=message):
            read_xlsx(data)


def test_a_workbook_that_unpacks_to_gigabytes_is_refused(monkeypatch):
    monkeypatch.setattr("beft.data.readers.xlsx_file._LARGEST", 2**20)
    data = changed(saved(TABLE), SHEET, b"<sheetData>", b" " * 2**20 + b"<sheetData>")
    with pytest.raises(ValueError, match="unpacks to more than 1 MiB"):
        read_xlsx(data)


@pytest.mark.parametrize("data", [b"", b"PK\3\4", b"text,stars\n", saved(TABLE)[:-40]])
def test_what_is_no_workbook_is_refused(data):
    with pytest.raises(ValueError, match="."):
        read_xlsx(data)
