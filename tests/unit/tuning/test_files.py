"""One table gives the same columns in every format; what is no table is refused in one line."""

import csv
import datetime
import gzip
import io
import json
import os

import numpy as np
import openpyxl
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beft.errors import UserError
from beft.tasks.labels import Number
from beft.tuning.files import from_frame, read_file

COLUMNS = {
    "text": ['said "no", twice', "two\nlines; and | more\tthings", "007", "naïve 猫", "x"],
    "stars": ["1", "2", "3", "4", "5"],
    "kept": ["true", "", "NA", "null", "2020-01-01"],
}
ROWS = [dict(zip(COLUMNS, row, strict=True)) for row in zip(*COLUMNS.values(), strict=True)]

GZIP = gzip.compress(b"x", mtime=0)  # without the time


def written(suffix: str, delimiter: str = ",", end: str = "\r\n", mark: str = "") -> bytes:
    """The table in one of the formats."""
    if suffix == ".parquet":
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table(COLUMNS), sink)
        return sink.getvalue().to_pybytes()
    if suffix == ".xlsx":
        book = openpyxl.Workbook()
        book.active.append(list(COLUMNS))
        for row in ROWS:
            book.active.append(list(row.values()))
        buffer = io.BytesIO()
        book.save(buffer)
        return buffer.getvalue()
    if suffix == ".jsonl":
        return "\n".join(map(json.dumps, ROWS)).encode()
    if suffix == ".json":
        return json.dumps(ROWS, indent=1).encode()
    sink = io.StringIO()
    writer = csv.writer(sink, delimiter=delimiter, lineterminator=end)
    writer.writerows([list(COLUMNS), *(row.values() for row in ROWS)])
    return (mark + sink.getvalue()).encode()


def read(tmp_path, name: str, data: bytes):
    (tmp_path / name).write_bytes(data)
    return read_file(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("a.csv", {}),
        ("a.CSV", {"delimiter": ";", "end": "\n"}),
        ("a.csv", {"delimiter": ";", "mark": "\ufeff"}),
        ("a.csv", {"delimiter": ";", "mark": "\ufeffsep=;\r\n"}),
        ("a.csv", {"delimiter": "|"}),
        ("a.csv", {"delimiter": "\t", "end": "\n"}),
        ("a.tsv", {"delimiter": "\t"}),
        ("a.tsv", {}),
        ("a.jsonl", {}),
        ("a.json", {}),
        ("a.parquet", {}),
        ("a.xlsx", {}),
    ],
)
def test_the_same_table_in_every_format(tmp_path, name, given):
    rows = read(tmp_path, name, written(f".{name.split('.')[1].lower()}", **given))
    kept = [value or None for value in COLUMNS["kept"]]
    assert {n: [v or None for v in c] for n, c in rows.columns.items()} == {**COLUMNS, "kept": kept}
    assert (rows.count, rows.origin) == (5, str(tmp_path / name))
    assert rows.place(0).startswith("row 0")


def test_json_lines_that_are_named_json(tmp_path):
    assert read(tmp_path, "a.json", written(".jsonl")).count == 5


def test_a_parquet_file_that_names_its_classes(tmp_path):
    """Datasets of the hub hold numbers; -1 is a label that is not told."""
    feature = {"names": ["bad", "good"], "_type": "ClassLabel"}
    info = json.dumps({"info": {"features": {"label": feature}}})
    table = pa.table({"text": ["a", "b", "c"], "label": [1, 0, -1]})
    pq.write_table(table.replace_schema_metadata({"huggingface": info}), tmp_path / "a.parquet")
    assert read_file(tmp_path / "a.parquet").columns["label"] == ["good", "bad", None]


def test_a_parquet_file_that_unpacks_to_gigabytes(tmp_path, monkeypatch):
    monkeypatch.setattr("beft.data.readers.parquet_file._LARGEST", 2**20)
    text = pa.array(["x" * 1000] * 5000)
    for written in (text, text.dictionary_encode()):
        pq.write_table(pa.table({"text": written}), tmp_path / "a.parquet")
        with pytest.raises(UserError, match="unpacks to more than 1 MiB"):
            read_file(tmp_path / "a.parquet")


def test_columns_of_a_parquet_file_that_a_dictionary_holds(tmp_path):
    table = pa.table(
        {"text": ["a", "b", "a"], "kind": pa.array(["x", None, "x"]).dictionary_encode()}
    )
    pq.write_table(table, tmp_path / "a.parquet")
    columns = read_file(tmp_path / "a.parquet").columns
    assert columns == {"text": ["a", "b", "a"], "kind": ["x", None, "x"]}


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        (
            "a.csv.gz",
            GZIP,
            "compressed files are not read; unpack it first",
        ),
        (
            "a.csv",
            GZIP,
            r"not readable as UTF-8 csv \(it is compressed by gzip",
        ),
        ("a.csv", written(".xlsx"), "it is a zip archive or an Excel workbook"),
        ("a.jsonl", written(".parquet"), "it is parquet"),
        ("a.xls", b"\xd0\xcf\x11\xe0", "format of 'a.xls' is not known; give a file that ends in"),
        ("a.xlsx", b"\xd0\xcf\x11\xe0" * 9, "it is a file of an old Excel, or one with a password"),
        ("a", b"text,stars\n", "format of 'a' is not known"),
        ("a.csv", b"", "the file is empty"),
        ("a.csv", b"text,stars\r\n", "it has no rows"),
        (
            "a.csv",
            "text;stars\nnaïve;1\n".encode("cp1252"),
            "line 2 is not UTF-8; save it as UTF-8",
        ),
        ("a.csv", "text;stars\nnaïve;1\n".encode("utf-16"), "begins as UTF-16 does"),
        ("a.csv", "text;stars\nnaïve;1\n".encode("utf-16-le"), "begins as UTF-16 does"),
        ("a.csv", b'text;stars\n"a;1\n', "line 2: a quote opens here and is never closed"),
        ("a.csv", b"text;stars\na;1\nb\n", "line 3: 1 fields, but line 1 has 2"),
        ("a.csv", b"a,b;c\nd,e;f\n", "separated by commas or by semicolons"),
        ("a.jsonl", b'{"a": 1}\n[1]\n', "line 2: not an object"),
        ("a.json", b"[1]", "row 0: not an object"),
        (
            "a.json",
            b'{"text": ["a", "b"], "stars": [1, 2]}',
            "it is one object of columns; write an",
        ),
        (
            "a.csv",
            b"text,stars\na, b,1\n",
            "but line 1 has 2; put quotes around a text with commas",
        ),
        ("a.parquet", b"PAR1PAR1", "not readable as parquet"),
        ("a.xlsx", b"PK\3\4", "not readable as an Excel workbook"),
    ],
)
def test_what_is_no_table_is_refused_in_one_line(tmp_path, name, data, message):
    with pytest.raises(UserError, match=message) as caught:
        read(tmp_path, name, data)
    assert str(caught.value).startswith(str(tmp_path / name)) and "\n" not in str(caught.value)


def test_files_that_are_none(tmp_path):
    with pytest.raises(UserError, match="a.csv: no such file"):
        read_file(tmp_path / "a.csv")
    (tmp_path / "b.csv").mkdir()
    os.mkfifo(tmp_path / "c.csv")  # opening it would wait for ever
    for name in ("b.csv", "c.csv"):
        with pytest.raises(UserError, match=f"{name}: it is not a file"):
            read_file(tmp_path / name)


def test_a_file_that_is_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr("beft.tuning.files._LARGEST", 20)
    with pytest.raises(UserError, match="more than 0 MiB are not read"):
        read(tmp_path, "a.csv", written(".csv"))


FRAME = pd.DataFrame(
    {
        "text": pd.Series(["a", None, "c"], dtype="string"),
        "stars": pd.Series([1, 2, None], dtype="Int64"),
        "score": np.array([0.5, np.nan, 2], dtype=np.float32),
        "good": [True, False, True],
        "kind": pd.Categorical(["x", "y", "x"]),
        "when": pd.to_datetime(["2020-01-02 00:00:00", None, "2020-01-02 03:04:05"]),
        3: [[1], {"a": 1}, "z"],
    }
).set_axis([7, 7, 9])
VALUES = {
    "text": ["a", None, "c"],
    "stars": ["1", "2", None],
    "score": ["0.5", None, "2.0"],
    "good": [True, False, True],
    "kind": ["x", "y", "x"],
    "when": ["2020-01-02", None, "2020-01-02 03:04:05"],
    "3": [["1"], {"a": "1"}, "z"],
}


@pytest.mark.parametrize(
    "frame",
    [FRAME, FRAME.to_dict("list"), FRAME.to_dict("records"), {n: FRAME[n] for n in FRAME}],
    ids=["frame", "lists", "dicts", "series"],
)
def test_frames_of_every_kind(frame):
    rows = from_frame(frame, "reviews")
    assert rows.columns == VALUES and (rows.count, rows.origin) == (3, "reviews")
    assert type(rows.columns["good"][0]) is bool and type(rows.columns["text"][0]) is str
    assert isinstance(rows.columns["stars"][0], Number) and rows.place(2) == "row 2"


def test_columns_of_one_name_have_no_values():
    frame = pd.DataFrame([["a", "b", 1]], columns=["text", "text", "stars"])
    rows = from_frame(frame, "data")
    assert rows.columns == {"stars": ["1"]} and list(rows.names) == ["text", "text", "stars"]


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ({"text": ["a"], "stars": [1, 2]}, "data: columns differ in length: 'text' 1, 'stars' 2"),
        ({"text": "ab", "stars": [1, 2]}, "columns differ in length: 'text' 0, 'stars' 2"),
        ({"text": 3, "stars": [1, 2]}, "columns differ in length"),
        ([["a", 1]], "data: give a file, a DataFrame, a list of dicts or a dict of li"),
        (3, "not int"),
        ({"text": [10**5000]}, "data: not readable as a table"),
        ("ab", "not str"),
        ([], "is empty"),
        ({}, "no rows"),
        (FRAME[:0], "no rows"),
    ],
)
def test_what_is_no_frame_is_refused(frame, message):
    with pytest.raises(UserError, match=message):
        from_frame(frame, "data")


def test_float32_is_written_as_it_is_meant():
    frame = pd.DataFrame({"a": np.array([0.1], np.float32)})
    for given in (frame, {"a": frame["a"]}, {"a": frame["a"].to_numpy()}):
        assert from_frame(given).columns == {"a": ["0.1"]}


def test_dates_of_a_frame_are_those_of_a_file():
    rows = from_frame([{"a": datetime.date(2020, 1, 2), "b": np.str_("x"), "c": np.int8(3)}])
    assert rows.columns == {"a": ["2020-01-02"], "b": ["x"], "c": ["3"]}
