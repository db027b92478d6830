"""JSON lines: nothing that lies in a column that nobody reads can fail."""

import json

import pytest

from beft.data.readers.jsonl_file import read_array, read_jsonl
from beft.data.readers.rows import Twice
from beft.tasks.labels import Number

ROW = '{"sentence": "a", "label": 1, "other": OTHER}'


def read(text):
    return read_jsonl(text, ["sentence", "label"])


@pytest.mark.parametrize(
    "other",
    ["{}", "[1, {}]", '"1a"', "1e999", "9" * 5000, "NaN", "-Infinity", '{"a": 1, "a": 2}',
     "[" * 200_000 + "]" * 200_000, '{"a":' * 100_000 + "1" + "}" * 100_000,
     "[[1, [2]], " * 9_000 + "3" + "]" * 9_000,
     '"\\ud800"', '"\udce9"', '"a\tb"'],
    ids=lambda other: other[:12],
)  # fmt: skip
def test_what_other_columns_hold_does_not_matter(other):
    rows = read(f"{ROW.replace('OTHER', other)}\n{ROW.replace('OTHER', '2')}\n")
    assert rows.columns == {"sentence": ["a", "a"], "label": ["1", "1"]}


def test_values_keep_what_the_file_writes():
    rows = read(
        '{"sentence": "2020-01-01", "label": 1.0}\n\n'
        '{"label": true, "sentence": 12}\r\n{"label": NaN}'
    )
    assert rows.columns == {"sentence": ["2020-01-01", "12", None], "label": ["1.0", True, None]}
    assert isinstance(rows.columns["sentence"][1], Number)
    assert (rows.count, rows.starts, rows.lines) == (3, [1, 3, 4], 4)


def test_a_line_ends_at_a_line_feed_only():
    text = '{"sentence": "a\u2028b\x85c", "label": 0}'
    assert read(text).columns["sentence"] == ["a\u2028b\x85c"]


def test_a_key_that_is_there_twice_has_no_value():
    (value,) = read('{"sentence": "a", "sentence": "b", "label": 1}').columns["sentence"]
    assert isinstance(value, Twice)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ROW.replace("OTHER", "1") + '\n{"sente', "line 2: "),
        ("[1]", "line 1: not an object"),
        ("[" * 200_000 + "]" * 200_000, "line 1: not an object"),
        ("[" * 200_000, "line 1: "),
        ('{"sentence": "' + "[" * 200_000, "line 1: "),
        ('{"a": ' + "[" * 200_000 + '"\\"\\"', "line 1: "),
        ("", "the file is empty"),
        ("\n \n", "the file is empty"),
    ],
    ids=range(8),
)
def test_lines_that_are_wrong_are_named(text, message):
    with pytest.raises(ValueError, match=message):
        read(text)


def test_all_columns_of_rows_with_different_keys():
    rows = read_jsonl('{"a": 1}\n{"b": true, "a": "x"}\n{}')
    assert rows.columns == {"a": ["1", "x", None], "b": [None, True, None]}
    assert (rows.names, rows.count) == (["a", "b"], 3)


def test_so_many_keys_are_no_columns():
    with pytest.raises(ValueError, match="more than 1000 different keys"):
        read_jsonl("\n".join(json.dumps({number: 1}) for number in range(1001)))


def test_an_array_of_objects():
    rows = read_array('[{"a": 1.0, "b": "x"},\n {"a": [1]}]')
    assert rows.columns == {"a": ["1.0", ["1"]], "b": ["x", None]} and rows.count == 2
    assert rows.place(1) == "row 1"
    assert read_array('[{"a": 1, "b": 2}]', ["b"]).columns == {"b": ["2"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "not an array"),
        ("3", "not an array"),
        ('[{"a": 1}, 2]', "row 1: not an object in braces"),
        ("[]", "the file is empty"),
        ('[{"a": 1},\n {"a"}]', "line 2"),
        ("[" * 200_000, "."),
        ('[{"a": 1}, ' + "[" * 200_000 + "]" * 200_000 + "]", "row 1: not an object"),
    ],
    ids=range(7),
)
def test_what_is_no_array_of_objects_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        read_array(text)
