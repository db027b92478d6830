"""One table gives the same normalised bytes as csv, as JSON lines and as parquet."""

import csv
import datetime
import io
import json
import re

import hypothesis.strategies as st
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from support.fuzzing import fuzzed

from beft.data.normalise import normalise
from beft.data.readers.read import read_rows
from beft.data.tables import parquet_bytes
from beft.errors import UserError
from beft.tasks import TABLE, Task
from beft.tasks.labels import spelt

FORMATS = (".csv", ".jsonl", ".parquet")
NAMES = ("negative", "positive")


def written(columns: dict[str, list], suffix: str) -> bytes:
    """A table in one of the formats, as usual writers make it."""
    if suffix == ".parquet":
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table(columns), sink)
        return sink.getvalue().to_pybytes()
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    if suffix == ".jsonl":
        return "".join(json.dumps(row, default=str) + "\n" for row in rows).encode()
    lines = [",".join(map(_cell, row)) for row in [list(columns), *(r.values() for r in rows)]]
    return "".join(f"{line}\n" for line in lines).encode()


def _cell(value: object) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, default=str).strip('"')
    if not isinstance(value, str):
        return text
    sink = io.StringIO()
    csv.writer(sink, quoting=csv.QUOTE_ALL, lineterminator="").writerow([text])
    return sink.getvalue()


def outcome(columns: dict[str, list], suffix: str, task: Task) -> bytes | str:
    """The normalised table, or the error without the line, which parquet does not have."""
    try:
        split = normalise(read_rows(written(columns, suffix), suffix, task, "file"), task, "file")
        return parquet_bytes(split.table)
    except UserError as error:
        assert "\n" not in str(error)
        return re.sub(r" \(line \d+\)", "", str(error))


def outcomes(columns: dict[str, list], task: Task) -> set[bytes | str]:
    return {outcome(columns, suffix, task) for suffix in FORMATS}


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NUMBERS = st.integers(-3, 3) | st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([0.0, 1.0, 2.0, 0.5])
CLASSES = st.lists(
    TEXTS | st.sampled_from(["0", "1", "2", "1.0", "true", "False", "2020-01-01", "NA", "07"]),
    min_size=2,
    max_size=4,
    unique_by=spelt,  # params.yaml refuses two names of one value
)


@st.composite
def tables(draw) -> tuple[dict[str, list], Task]:
    names = tuple(draw(CLASSES))
    dates = st.dates(datetime.date(1900, 1, 1), datetime.date(2100, 1, 1))
    labels = draw(
        st.sampled_from(
            [st.sampled_from(names), NUMBERS, FLOATS, st.booleans(), dates,
             st.integers(0, len(names) - 1), st.integers(0, 2).map(float)]
        )
    )  # fmt: skip
    texts = draw(st.sampled_from([TEXTS, TEXTS, NUMBERS, FLOATS, st.booleans()]))
    others = draw(st.sampled_from([TEXTS, NUMBERS, FLOATS, st.booleans(), dates]))
    missing = draw(st.sampled_from([0, 0, 0, 1, 2]))
    if missing == 1:
        texts |= st.none()
    elif missing == 2:
        labels |= st.none()
    rows = draw(st.lists(st.tuples(others | st.none(), texts, labels), min_size=1, max_size=5))
    unread, sentence, label = (list(column) for column in zip(*rows, strict=True))
    task = Task(("sentence",), draw(st.sampled_from([names, names, ()])), "accuracy")
    return {"unread": unread, "sentence": sentence, "label": label}, task


@fuzzed
@given(tables())
@example(({"sentence": ["a", "b"], "label": [True, False]}, Task(("sentence",), NAMES, "f1")))
@example(({"sentence": ["a"], "label": [1.0]}, Task(("sentence",), ("1", "2"), "f1")))
@example(({"sentence": ["", None], "label": [1, 1]}, Task(("sentence",), NAMES, "f1")))
@example(({"sentence": ["a", "b"], "label": [None, 1.5]}, Task(("sentence",), (), "pearson")))
def test_a_table_gives_the_same_source_in_each_format(table):
    assert len(outcomes(*table)) == 1


@pytest.mark.parametrize(
    ("names", "labels", "expected"),
    [
        (("true", "false"), [True, False], [0, 1]),
        (("1", "2", "3"), [1, 3], [0, 2]),
        (("1", "2", "3"), [1.0, 3.0], [0, 2]),
        (("2020-01-01", "2020-01-02"), [datetime.date(2020, 1, 2)] * 2, [1, 1]),
        (NAMES, [1, 0], [1, 0]),
        (NAMES, ["1", "0"], [1, 0]),
        (NAMES, ["positive", "negative"], [1, 0]),
    ],
)
def test_labels_are_the_same_in_each_format(names, labels, expected):
    task = Task(("sentence",), names, "accuracy")
    (made,) = outcomes({"sentence": ["a", "b"], "label": labels}, task)
    assert isinstance(made, bytes), made
    assert pq.read_table(pa.BufferReader(made))["label"].to_pylist() == expected


def test_only_columns_that_the_task_reads_are_kept_in_its_order():
    columns = {"x": [1], "label": [1], "sentence2": ["b"], "sentence1": ["a"], "y": [None]}
    for suffix in FORMATS:
        read = read_rows(written(columns, suffix), suffix, TABLE["rte"], "file")
        made = normalise(read, TABLE["rte"], "file").table
        assert made.column_names == ["sentence1", "sentence2", "label"]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_of_lists_and_objects_only_what_the_task_reads_is_kept(suffix):
    columns = {
        "id": ["x"], "context": ["It rained."], "question": ["What did it do?"],
        "answers": [{"answer_start": [3], "text": ["rained"]}],
    }  # fmt: skip
    rows = read_rows(written(columns, suffix), suffix, TABLE["squad"], "file")
    made = normalise(rows, TABLE["squad"], "file").table
    assert made.to_pydict() == {
        "context": ["It rained."],
        "question": ["What did it do?"],
        "answers": [{"text": ["rained"]}],
    }  # fmt: skip


def test_bytes_that_are_not_utf8_matter_where_they_are_read():
    task = Task(("sentence",), NAMES, "accuracy")
    read = read_rows(b"sentence,label,x\na,1,caf\xe9\n", ".csv", task, "file")
    assert normalise(read, task, "file").table["sentence"].to_pylist() == ["a"]
    rows = read_rows(b"sentence,label\ncaf\xe9,1\n", ".csv", task, "file")
    with pytest.raises(UserError, match=r"file: row 0 \(line 2\): 'sentence' is not UTF-8"):
        normalise(rows, task, "file")
    with pytest.raises(UserError, match="UTF-16"):
        read_rows("sentence,label\na,1\n".encode("utf-16"), ".csv", task, "file")


@pytest.mark.parametrize(
    ("names", "in_file", "expected"),
    [
        (NAMES, NAMES, [1, 0]),
        (("1", "2"), ("1", "2"), [1, 0]),
        (
            ("positive", "negative"),
            NAMES,
            "has the classes negative, positive, but .* positive, n",
        ),
        (NAMES, ("neg", "pos"), "has the classes neg, pos, but the task's labels are negative"),
        (NAMES, (*NAMES, "neutral"), "has the classes negative, positive, neutral, but"),
        ((), ("5", "1"), "has the classes 5, 1, but the task has no 'labels:'"),  # no targets
    ],
)
@pytest.mark.parametrize("kind", [pa.int64(), pa.float64(), pa.string()])
def test_names_that_a_file_gives_to_its_numbers(names, in_file, expected, kind):
    feature = {"names": list(in_file), "_type": "ClassLabel"}
    info = json.dumps({"info": {"features": {"label": feature}}})
    table = pa.table({"sentence": ["a", "b"], "label": pa.array([1, 0]).cast(kind)})
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata({"huggingface": info}), sink)
    task = Task(("sentence",), names, "accuracy")
    rows = read_rows(sink.getvalue().to_pybytes(), ".parquet", task, "file")
    if isinstance(expected, str):
        with pytest.raises(UserError, match=f"file: its column 'label' {expected}"):
            normalise(rows, task, "file")
    else:
        split = normalise(rows, task, "file")
        assert split.table["label"].to_pylist() == expected and not split.by_position


def test_a_task_of_the_table_knows_what_the_hub_calls_its_classes():
    columns = {"question": ["q"], "passage": ["p"], "label": [True]}
    (made,) = outcomes(columns, TABLE["boolq"])
    assert pq.read_table(pa.BufferReader(made))["label"].to_pylist() == [1]


@pytest.mark.parametrize(
    "text", ["9007199254740993.0", "0.10000000000000000001", "1e400", "007.50"]
)
def test_numbers_in_a_column_of_texts_keep_their_digits(text):
    """No double could hold them."""
    files = {".csv": f"text,label\n{text},0\n", ".jsonl": f'{{"text": {text}, "label": 0}}\n'}
    task = Task(("text",), NAMES, "accuracy")
    for suffix, content in files.items():
        if text.startswith("00") and suffix == ".jsonl":
            continue  # no JSON
        split = normalise(read_rows(content.encode(), suffix, task, "file"), task, "file")
        assert split.table["text"].to_pylist() == [text]
