"""YAML files as mappings: what is read, and what is refused with the line at which it stands."""

import os
import time
from pathlib import Path

import pytest

from beft.errors import UserError
from beft.study import yaml_file
from beft.study.settings import Overrides
from beft.study.yaml_file import read_yaml


def read(tmp_path: Path, content: str | bytes) -> dict:
    path = tmp_path / "x.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_yaml(path)


def test_merge_keys_may_repeat_what_they_override(tmp_path):
    both = {"a": {"x": 1, "y": 2}, "b": {"x": 3, "y": 2}}
    assert read(tmp_path, "a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\n") == both
    deeper = "a: [[&b {<<: &a {x: 1, y: 2}, x: 3}]]\nc: {<<: *b, z: 4}\n"
    assert read(tmp_path, deeper) == {"a": [[both["b"]]], "c": both["b"] | {"z": 4}}


@pytest.mark.parametrize("written", ["1e-3", "1.0e-3", "0.001", "'0.001'"])
def test_a_number_is_a_number_however_it_is_written(tmp_path, written):
    """YAML 1.1 takes 1e-3 for text; nobody who writes it means text."""
    assert Overrides(**read(tmp_path, f"learning_rate: {written}\n")).learning_rate == 0.001


@pytest.mark.parametrize(
    ("written", "value"),
    [
        *((word, word) for word in ("010", "12:30", "2024-01-01", "2024-13-45", "=", "1:2.5")),
        *((word, True) for word in ("true", "yes", "on", "!!bool 'yes'")),
        *(("0", 0), ("-3", -3), ("1_000", 1000), ("0x1f", 31), ("9223372036854775807", 2**63 - 1)),
        *((".5", 0.5), ("1.", 1.0), ("-1.5e+3", -1500.0), ("-.inf", float("-inf"))),
        *(("~", None), ("", None), ("!!str 1", "1"), ("!!int '7'", 7), ("'no'", "no")),
    ],
)
def test_plain_words(tmp_path, written, value):
    """Dates and numbers that only YAML 1.1 knows stay text."""
    found = read(tmp_path, f"a: {written}\n")["a"]
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize("start", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_and_marks_of_other_systems(tmp_path, start, end):
    assert read(tmp_path, start + "a: 1\nb: ä\n".replace("\n", end)) == {"a": 1, "b": "ä"}


def grown(first: str, next_one: str) -> str:
    """Nine lines, each of which names the one before ten times: ten to the ninth in all."""
    lines = [f"b0: &b0 {first}"]
    for i in range(1, 10):
        lines.append(f"b{i}: &b{i} {next_one.format(','.join([f'*b{i - 1}'] * 10))}")
    return "\n".join(lines)


TAGS = [
    "int ''",
    "float ''",
    "int x",
    "bool x",
    "timestamp x",
    "binary '%'",
    "set {x}",
    "omap [x: 1]",
]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (grown("{a: 1}", "{{<<: [{}]}}"), "line 5: more than 20000 values"),
        (grown("[a]", "[{}]"), "line 5: more than 20000 values"),
        ("a: [" + "1," * 20_001 + "]", "line 1: more than 20000 values"),
        ("\na: " + "[" * 60, "line 2: nested in more than 50 levels"),
        ("a: 1\nb: &b [*b]", "line 2: '*b' stands for something that contains it"),
        ("a: &b {<<: *b}", "line 1: '*b'"),
        *((f"a: !!{tag}", "line 1: ") for tag in TAGS),
        ("a: !!python/object/apply:os.getcwd []", "line 1: tag 'python/object/apply:os.getcwd'"),
        ("a: !mine x", "line 1: tag '!mine' is not supported"),
        *((f"a:\n- 1{digits}", "line 2: ") for digits in ("0" * 19, "0" * 6000)),
        ("a: 0x1" + "0" * 6000, "line 1: '0x1000"),
        *(
            (f'a: "{code}"', "line 1: a character")
            for code in (r"\0", r"\ud800", r"\e[31m", r"\x7f")
        ),
        ('"\\ud800": 1', "line 1: a character"),
        ("a: 1\nb: {c: 1, d: 2,\n c: 3}", "line 3: 'c' is defined twice"),
        ("? {a: 1}\n: 1", "line 1: a key must be a single value"),
        ("a: *b", "undefined alias 'b'"),
        ("<<: 3", "merging"),
        (b"a: \xff", "position 3"),
        (b"a: 1\0", "not valid YAML"),
        ("# " + "x" * 2**20, "larger than 1 MB"),
    ],
)
def test_one_line_says_what_is_wrong_at_once(tmp_path, content, words):
    began = time.process_time()  # of computing: the machine may be busy
    with pytest.raises(UserError) as caught:
        read(tmp_path, content)
    said = str(caught.value)
    assert said.startswith(f"{tmp_path}/x.yaml: ") and words in said
    assert "\n" not in said and len(said) < 500
    assert time.process_time() - began < 5


def test_an_alias_counts_as_all_that_it_stands_for(tmp_path, monkeypatch):
    content = "a: &a [1]\nb: *a"  # the mapping, two keys, and twice a list of one value
    monkeypatch.setattr(yaml_file, "MOST_VALUES", 7)
    assert read(tmp_path, content) == {"a": [1], "b": [1]}
    monkeypatch.setattr(yaml_file, "MOST_VALUES", 6)
    with pytest.raises(UserError, match="line 2: more than 6 values"):
        read(tmp_path, content)


def test_only_files_are_opened(tmp_path):
    """A pipe without a writer, and a device without an end, would be read for ever."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link.yaml").symlink_to("x.yaml")
    read(tmp_path, "a: 1")
    assert read_yaml(tmp_path / "link.yaml") == {"a": 1}
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path, tmp_path / ("x" * 5000)):
        with pytest.raises(UserError, match="cannot be read") as caught:
            read_yaml(path)
        assert len(str(caught.value)) < 300
