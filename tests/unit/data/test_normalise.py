"""Columns get one type, whatever type they came in; wrong rows are named."""

import pyarrow as pa
import pytest
from support.local_files import ASKED, normalised, table

from beft.errors import UserError
from beft.tasks import TABLE, Task

CLASSES = Task(("sentence",), ("negative", "positive"), "accuracy")
SCORES = Task(("sentence",), (), "spearman")


@pytest.mark.parametrize(
    ("labels", "task", "expected"),
    [
        ([0, 1], CLASSES, [0, 1]),
        (pa.array([0, 1], pa.uint8()), CLASSES, [0, 1]),
        ([0.0, 1.0], CLASSES, [0, 1]),
        (["positive", "negative"], CLASSES, [1, 0]),
        (pa.array(["positive", "negative"], pa.large_string()), CLASSES, [1, 0]),
        (pa.array(["positive", "negative"]).dictionary_encode(), CLASSES, [1, 0]),
        (pa.array([1, 0, 1]).dictionary_encode(), CLASSES, [1, 0, 1]),
        ([0.5, 5.0], SCORES, [0.5, 5.0]),
        ([3, -1], SCORES, [3.0, -1.0]),
        (pa.array([0.5, 1.5], pa.float32()), SCORES, [0.5, 1.5]),
    ],
)
def test_labels_become_one_type(labels, task, expected):
    column = normalised(table(labels), task, "here")["label"]
    assert column.type == (pa.int64() if task.labels else pa.float64())
    assert column.to_pylist() == expected


@pytest.mark.parametrize(
    ("labels", "task", "message"),
    [
        ([0, 2], CLASSES, "here: row 1: label 2 is not one of 0 to 1"),
        ([0.5], CLASSES, "here: row 0: label 0.5 is not one of 0 to 1"),
        ([float("inf")], CLASSES, "row 0: label inf"),
        ([1.0, float("nan")], SCORES, "row 1: 'label' is empty"),
        (["good"], SCORES, "row 0: label 'good' is not a number"),
        (["Positive"], CLASSES, "'Positive' is not one of negative, positive"),
        ([b"x"], CLASSES, "row 0: 'label' holds bytes, not a label"),
        ([None, 1], CLASSES, "row 0: 'label' is empty"),
        ([], CLASSES, "the split is empty"),
    ],
)
def test_labels_that_are_none(labels, task, message):
    with pytest.raises(UserError, match=message):
        normalised(table(labels), task, "here")


@pytest.mark.parametrize(
    "text",
    [
        pa.array(["a", "b"], pa.large_string()),
        pa.array(["a", "b"]).dictionary_encode(),
        pa.chunked_array([["a"], ["b"]]),
    ],
    ids=["large", "dictionary", "chunks"],
)
def test_text_becomes_one_type(text):
    made = normalised(table([0, 1], text), CLASSES, "here")
    assert made["sentence"].type == pa.string() and made["sentence"].to_pylist() == ["a", "b"]


def test_other_columns_stay_and_metadata_goes():
    given = table([1]).append_column("idx", [[7]]).replace_schema_metadata({"pandas": "x"})
    made = normalised(given, CLASSES, "here")
    assert made.column_names == ["sentence", "label", "idx"] and made["idx"].to_pylist() == [7]
    assert made.schema.metadata is None


def test_lists_and_structs_stay_as_they_came():
    """Nothing is asked of columns that the task does not read, such as `answer_start`."""
    given = pa.table({**ASKED, "context": pa.array(ASKED["context"], pa.large_string())})
    made = normalised(given, TABLE["squad"], "here")
    assert made["answers"].type == given["answers"].type
    assert made["context"].type == pa.string() and made.to_pydict() == given.to_pydict()


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("answers", None, "no column 'answers'"),
        ("answers", ["a", "b"], "row 0: 'answers.text' holds text, not an object"),
        ("answers", [{"txt": ["a"]}] * 2, "row 0: 'answers.text' holds an object without 'text'"),
        ("answers", [{"text": "a"}] * 2, "'answers.text' holds text, not a list of texts"),
        ("answers", [{"text": [1]}] * 2, "'answers.text' holds a list with 1, not a list of texts"),
        ("answers", [{"text": ["a"]}, None], "row 1: 'answers.text' is empty"),
        ("answers", [{"text": ["a"]}, {"text": None}], "row 1: 'answers.text' is empty"),
        ("answers", [{"text": [None]}, {"text": ["a"]}], "row 0: 'answers.text' is empty"),
        ("answers", [{"text": ["a"]}, {"text": []}], "row 1: there is no answer"),
        ("context", ["a", None], "row 1: 'context' is empty"),
        ("context", [b"x", b"y"], "row 0: 'context' holds bytes, not text"),
        ("context", [["x"], ["y"]], "row 0: 'context' holds a list, not text"),
    ],
)
def test_lists_and_structs_that_a_task_cannot_read(column, values, message):
    columns = ASKED | ({column: values} if values else {})
    if values is None:
        del columns[column]
    with pytest.raises(UserError, match=f"here: .*{message}"):
        normalised(pa.table(columns), TABLE["squad"], "here")


def test_numbers_inside_structs_are_whole():
    columns = {"paragraph": ["p"], "question": ["q"], "answer": ["a"], "label": [1]}
    ids = {"paragraph": 0.5, "question": 1, "answer": 2}
    with pytest.raises(UserError, match="row 0: 'idx.paragraph' holds 0.5, not a whole number"):
        normalised(pa.table({**columns, "idx": [ids]}), TABLE["multirc"], "here")


def test_a_texts_name_may_have_a_dot():
    """Only what a view reads itself may lie in a struct; a text is a column."""
    task = Task(("meta.title",), ("x", "y"), "accuracy")
    made = normalised(pa.table({"meta.title": ["a"], "label": [1]}), task, "here")
    assert made["meta.title"].to_pylist() == ["a"]
    with pytest.raises(UserError, match="no column 'meta.title'"):
        normalised(pa.table({"meta": [{"title": "a"}], "label": [1]}), task, "here")
