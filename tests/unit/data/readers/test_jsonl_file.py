"""JSON lines: nothing that lies in a column that nobody reads can fail."""

import pytest

from beft.data.readers.jsonl_file import read_jsonl
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
