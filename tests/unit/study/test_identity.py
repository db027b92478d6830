"""Digests of plain data and of files, the cache of the latter, and local datasets and models."""

import hashlib
import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beft.errors import UserError
from beft.study import identity

# The example of FIPS 180-2, appendix B.1.
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "beft" / "sha256"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    return path


@pytest.mark.parametrize("size", [0, identity.SMALL, identity.SMALL + 1])
def test_small_and_large_files_are_hashed_alike(tmp_path, size):
    path = tmp_path / "file"
    path.write_bytes(b"x" * size)
    assert identity.sha256(path) == hashlib.sha256(b"x" * size).hexdigest()


def count_reads(monkeypatch) -> list:
    reads = []
    real = identity.sha256
    monkeypatch.setattr(identity, "sha256", lambda path: reads.append(path) or real(path))
    return reads


def test_sha256_is_the_standards(file):
    assert identity.sha256(file) == identity.cached_sha256(file) == ABC


def test_an_unchanged_file_is_read_once(file, monkeypatch):
    reads = count_reads(monkeypatch)
    assert {identity.cached_sha256(file) for _ in range(3)} == {ABC}
    assert len(reads) == 1


def test_a_change_of_equal_size_and_time_is_noticed(file):
    identity.cached_sha256(file)
    stat = file.stat()
    file.write_bytes(b"abd")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # the change time cannot be set
    assert identity.cached_sha256(file) == identity.sha256(file) != ABC


def test_a_file_put_in_place_of_another_is_noticed(file, tmp_path):
    identity.cached_sha256(file)
    (tmp_path / "other").write_bytes(b"abd")
    (tmp_path / "other").replace(file)
    assert identity.cached_sha256(file) == identity.sha256(file) != ABC


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"state": [], "sha256": "0"}', "null"])
def test_a_damaged_memory_is_not_trusted(file, cache, content):
    identity.cached_sha256(file)
    (entry,) = cache.iterdir()
    entry.write_text(content)
    assert identity.cached_sha256(file) == ABC
    assert json.loads(entry.read_text())["sha256"] == ABC


def test_without_a_writable_memory_nothing_is_lost(file, tmp_path):
    (tmp_path / "cache").touch()
    assert identity.cached_sha256(file) == ABC


@pytest.mark.parametrize(
    ("files", "found"),
    [
        (["train.csv"], "train.csv"),
        (["train.jsonl", "test.csv"], "train.jsonl"),
        (["train.parquet", "train.txt", "train"], "train.parquet"),
        (["train.csv", "train.parquet"], "more than one file"),
        (["test.csv", "train.tsv"], "no file .* found test.csv, train.tsv"),
        ([], "found nothing"),
    ],
)
def test_the_file_of_a_split(tmp_path, files, found):
    folder = tmp_path / "data"
    folder.mkdir()
    for name in files:
        (folder / name).touch()
    if found in files:
        assert identity.split_file(folder, "train") == folder / found
    else:
        with pytest.raises(UserError, match=found):
            identity.split_file(folder, "train")


MODEL = {"config.json": b"{}", "model.safetensors": b"w", "vocab.txt": b"a"}


def model(folder, files):
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return identity.model_identity(folder)


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({}, True),
        ({"README.md": b"x"}, True),
        ({"pytorch_model.bin": b"never read"}, True),
        ({"model.safetensors": b"v"}, False),
        ({"config.json": b"{ }"}, False),
        ({"tokenizer.json": b"{}"}, False),
        ({"sentencepiece.bpe.model": b"x"}, False),
    ],
)
def test_a_model_is_the_files_that_decide_what_it_computes(tmp_path, change, same):
    one = model(tmp_path / "one", MODEL)
    assert (model(tmp_path / "elsewhere" / "two", MODEL | change) == one) is same


def test_contents_that_change_places_are_another_model(tmp_path):
    swapped = MODEL | {"config.json": b"a", "vocab.txt": b"{}"}
    assert model(tmp_path / "one", MODEL) != model(tmp_path / "two", swapped)


LEAVES = st.none() | st.booleans() | st.integers(-2, 2) | st.text("a1", max_size=2)
LEAVES |= st.floats(-2, 2) | st.sampled_from([0.0, -0.0, 1.0])
PLAIN = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3)
    ),
    max_leaves=6,
)


def turned(data: object) -> object:
    """The same data, with the keys of every mapping in the opposite order."""
    if isinstance(data, dict):
        return {key: turned(value) for key, value in reversed(data.items())}
    return [turned(item) for item in data] if isinstance(data, list) else data


def alike(one: object, other: object) -> bool:
    """Equal as JSON: 1, 1.0 and true are three values, and so are 0.0 and -0.0."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(alike, one, other))
    return repr(one) == repr(other)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(PLAIN)
def test_a_digest_depends_on_content_and_not_on_the_order_of_keys(data):
    found = identity.digest(data)
    assert identity.digest(turned(data)) == found
    assert identity.digest(json.loads(json.dumps(data))) == found
    assert len(found) == 16 and int(found, 16) >= 0


@settings(max_examples=100, deadline=None, derandomize=True)
@given(PLAIN, PLAIN)
def test_only_equal_content_has_equal_digests(one, other):
    assert (identity.digest(one) == identity.digest(other)) is alike(one, other)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_json_lacks_has_no_digest(value):
    with pytest.raises(ValueError):
        identity.digest({"a": value})
