"""One's own files of any content become examples and folds, or are refused in one line."""

import io
import json
import zipfile

import hypothesis.strategies as st
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from support.fuzzing import fuzzed

from beft.errors import UserError
from beft.tuning.columns import guess
from beft.tuning.cut import cut
from beft.tuning.files import from_frame, read_file
from beft.tuning.look import examples

SCRAPS = [*'",;|\t\n\r\0 1é', '""', "\r\n", "2,5", "good", "a b"]
HEADERS = ["", "text,label\n", "text;stars\n", "\ufefftext\tlabel\tid\r\n", "sep=;\na;b\n"]
WORDS = ["some text", "more text", "good", "bad", "1", "2", "2,5", "0.5", "a;b", "", " ", "é\u0301"]
NAMES = ["text", "label", "stars", "id", "", "premise", "hypothesis", "a b"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("own")


def check(read) -> None:
    """Reads rows and goes all the way, or is refused in one line and a list of columns."""
    try:
        rows = read()
        columns = guess(rows)
        found, seen = examples(rows, columns, enough=False)
        assert len(found) + seen.empty == rows.count and len(seen.lines(columns)) <= 3
        made = cut(found, 0.2, 2)
        assert len(made.test) + len(made.pool) == len(found)
    except UserError as error:
        message, *details = str(error).split("\n")
        assert message == " ".join(message.split()) and len(message) < 1000
        assert not details or message.endswith(":")
        assert details == list(error.details)


def check_file(folder, suffix: str, data: bytes) -> None:
    (folder / f"a{suffix}").write_bytes(data)
    check(lambda: read_file(folder / f"a{suffix}"))


@fuzzed
@given(
    st.sampled_from(HEADERS),
    st.lists(st.sampled_from(SCRAPS) | st.text(max_size=3), max_size=40).map("".join),
    st.binary(max_size=3),
)
def test_csv(folder, header, text, rest):
    check_file(folder, ".csv", (header + text).encode("utf-8", "surrogatepass") + rest)


@fuzzed
@given(
    st.sampled_from([",", ";", "\t", "|"]),
    st.lists(st.sampled_from(NAMES), min_size=2, max_size=4).flatmap(
        lambda names: st.lists(
            st.tuples(*[st.sampled_from(WORDS)] * len(names)), min_size=1, max_size=30
        ).map(lambda rows: [tuple(names), *rows])
    ),
)
def test_csv_with_as_many_fields_in_each_row(folder, delimiter, rows):
    text = "\n".join(delimiter.join(row) for row in rows)
    check_file(folder, ".tsv", text.encode())


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from([*WORDS, 1, 2, 10**400, "\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["text", "x"]), inner, max_size=2)
    ),
    max_leaves=4,
)
OBJECTS = st.lists(
    st.dictionaries(st.sampled_from(NAMES), VALUES, min_size=1, max_size=4), min_size=1, max_size=12
)


@fuzzed
@given(OBJECTS, st.booleans(), st.integers(0, 400), st.binary(max_size=3))
def test_json(folder, objects, array, place, change):
    text = json.dumps(objects) if array else "\n".join(map(json.dumps, objects))
    data = text.encode()
    check_file(
        folder, ".json" if array else ".jsonl", data[:place] + change + data[place + len(change) :]
    )


@fuzzed
@given(OBJECTS)
def test_lists_of_dicts(objects):
    check(lambda: from_frame(objects, "data"))


@fuzzed
@given(
    st.dictionaries(
        st.sampled_from(NAMES), st.lists(VALUES, min_size=6, max_size=6), min_size=1, max_size=4
    )
)
def test_dicts_of_lists_and_parquet_of_any_types(folder, columns):
    check(lambda: from_frame(columns, "data"))
    sink = pa.BufferOutputStream()
    try:
        pq.write_table(pa.table(columns), sink)
    except (pa.ArrowException, OverflowError, UnicodeError):  # Arrow cannot hold these values
        return
    check_file(folder, ".parquet", sink.getvalue().to_pybytes())


def workbook() -> dict[str, bytes]:
    """The parts of a workbook."""
    book = openpyxl.Workbook()
    for row in [["text", "label"], ["a b", 1], ["c d", 2.5], [None, True], ["e", "x"]]:
        book.active.append(row)
    buffer = io.BytesIO()
    book.save(buffer)
    with zipfile.ZipFile(buffer) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


PARTS = workbook()
CHANGES = st.lists(
    st.tuples(st.floats(0, 1), st.binary(max_size=3), st.integers(0, 9)), min_size=1, max_size=3
)


@fuzzed
@given(
    st.sampled_from(sorted(PARTS)),
    CHANGES,
    st.sampled_from([b"", b't="s"', b'r="B99999999"', b't="d"', b"<v>1e999</v>"]),
    st.booleans(),
)
def test_workbooks(folder, part, changes, scrap, outside):
    def changed(data: bytes) -> bytes:
        for place, new, removed in changes:
            start = int(place * len(data))
            data = data[:start] + new + scrap + data[start + removed :]
        return data

    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, content in PARTS.items():
            archive.writestr(name, content if outside or name != part else changed(content))
    check_file(folder, ".xlsx", changed(made.getvalue()) if outside else made.getvalue())
