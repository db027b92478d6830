"""Files of any content are read, or refused in one line."""

import json

import hypothesis.strategies as st
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from support.fuzzing import fuzzed

from beft.data.normalise import normalise
from beft.data.readers.read import read_rows
from beft.errors import UserError
from beft.tasks import TABLE, Task

TASKS = [
    Task(("sentence",), ("negative", "positive"), "accuracy"),
    Task(("sentence",), ("1", "true"), "accuracy"),
    Task(("sentence",), (), "pearson"),
    TABLE["squad"],
    TABLE["wsc"],
]
COLUMNS = ["sentence", "label", "context", "question", "answers", "x"]
SCRAPS = ['"', '""', ",", "\n", "\r\n", "\r", "1", "0", "true", "positive", "a b", "é", "\0", " "]
HEADER = "sentence,label,x\n"


def check(data: bytes, suffix: str, task: Task) -> None:
    """The content is read, with as many labels as rows, or refused in one line."""
    try:
        rows = read_rows(data, suffix, task, "file")
        table = normalise(rows, task, "file").table
    except UserError as error:
        assert str(error).startswith("file: ") and "\n" not in str(error) and len(str(error)) < 1000
    else:
        assert table.num_rows == rows.count > 0
        table.validate(full=True)


@fuzzed
@given(
    st.sampled_from([HEADER, "sentence,label\n", ""]),
    st.lists(st.sampled_from(SCRAPS) | st.text(max_size=3), max_size=30).map("".join),
    st.binary(max_size=3),
    st.sampled_from(TASKS),
)
def test_csv(header, text, rest, task):
    data = (header + text).encode("utf-8", "surrogatepass") + rest
    check(data, ".csv", task)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["positive", "1", "true", 1, 10**400]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["text", "x"]), inner, max_size=2)
    ),
    max_leaves=6,
)
OBJECTS = st.dictionaries(st.sampled_from(COLUMNS), VALUES, max_size=5).map(json.dumps)
DEEP = st.tuples(st.sampled_from(["[", '{"a":']), st.integers(1, 3000)).map(
    lambda deep: '{"sentence": "a", "label": 1, "x": %s}' % (deep[0] * deep[1] + "]" * deep[1])
)


@fuzzed
@given(
    st.lists(OBJECTS | DEEP | st.text(max_size=10), max_size=4).map("\n".join),
    st.integers(0, 300),
    st.binary(max_size=3),
    st.sampled_from(TASKS),
)
def test_jsonl(text, place, change, task):
    data = text.encode("utf-8", "surrogatepass")
    check(data[:place] + change + data[place + len(change) :], ".jsonl", task)


def _parquet(columns: dict, **options) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink, **options)
    return sink.getvalue().to_pybytes()


FILES = [
    _parquet({"sentence": ["a", "b"], "label": [1, 0], "x": [{"y": [1.5]}, None]}),
    _parquet({"sentence": ["a", "b"], "label": ["positive", "negative"]}, compression="none"),
    _parquet({"sentence": ["a"], "label": [0.5]}, data_page_version="2.0", compression="zstd"),
    _parquet(
        {"context": ["c"], "question": ["q"], "answers": [{"text": ["t"], "answer_start": [1]}]},
        use_dictionary=False,
    ),
]
CHANGES = st.lists(
    st.tuples(st.floats(0, 1), st.binary(max_size=3), st.integers(0, 3)), min_size=1, max_size=4
)


@fuzzed
@given(st.sampled_from(FILES), CHANGES, st.sampled_from(TASKS))
def test_parquet(data, changes, task):
    for place, new, removed in changes:
        start = int(place * len(data))
        data = data[:start] + new + data[start + removed :]
    check(data, ".parquet", task)


@fuzzed
@given(
    st.dictionaries(
        st.sampled_from(COLUMNS), st.lists(VALUES, min_size=2, max_size=2), min_size=1, max_size=4
    ),
    st.sampled_from(TASKS),
)
def test_parquet_of_any_types(columns, task):
    try:
        data = _parquet(columns)
    except (pa.ArrowException, OverflowError):  # Arrow cannot hold these values in one column
        return
    check(data, ".parquet", task)
