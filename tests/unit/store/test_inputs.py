"""Datasets and weights are what the names of their places say, and a run is of both."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from support.recipes import recipe

from beft.errors import UserError
from beft.store.files import to_json, write_file, write_folder
from beft.store.inputs import Inputs, marker_flaw, source_flaw, split_checksums
from beft.study.identity import content_of, digest, sha256

LOCAL, PINNED = {"model.safetensors": "a1", "config.json": "b2"}, {"model.safetensors": "c3"}
MODELS = {
    "local": {"alias": "m", "content": content_of(LOCAL)},
    "pinned": {"alias": "m", "hub": "own/m", "revision": "r", "sha256": "c3"},
    "by revision": {"alias": "m", "hub": "own/m", "revision": "r", "sha256": None},
}
SUMS = {"local": LOCAL, "pinned": PINNED, "by revision": PINNED}


def marker(folder: Path, kind: str, sums: dict[str, str], **place: str) -> Path:
    path = folder / "models" / "m" / f"{digest(MODELS[kind])}.json"
    where = place or ({"path": "here"} if kind == "local" else {"mirror": "models/own/m"})
    write_file(path, to_json({**where, "sha256": sums}))
    return path


def dataset(folder: Path, rows: bytes = b"rows", promised: str = "", **source: object) -> Path:
    """A normalised dataset that was read from a local file."""
    read = {"train": {"sha256": "d4"}}
    identity = {"content": {"train": promised or "d4"}, **source}
    path = folder / "sources" / "t" / digest(identity)
    note = {"task": "t", "source": identity, "read": read}
    write_folder(path, {"train.parquet": rows, "source.json": to_json(note)})
    return path


@pytest.mark.parametrize("kind", MODELS)
def test_a_marker_lists_the_weights_of_its_model(tmp_path, kind):
    assert marker_flaw(marker(tmp_path, kind, SUMS[kind]), MODELS[kind]) is None


@pytest.mark.parametrize(
    ("kind", "sums", "place"),
    [
        ("local", PINNED, {}),
        ("local", LOCAL | {"tokenizer.json": "e5"}, {}),
        ("pinned", LOCAL, {}),
        ("pinned", {}, {}),
    ],
)
def test_a_marker_of_other_weights_is_told(tmp_path, kind, sums, place):
    problem = marker_flaw(marker(tmp_path, kind, sums, **place), MODELS[kind])
    assert problem == "lists other weights than its name says; run 'beft fetch --model m'"


@pytest.mark.parametrize(
    ("kind", "place", "words"),
    [
        ("local", {"mirror": "models/own/m"}, "models/own/m"),
        ("pinned", {"mirror": "models/own/other"}, "models/own/other"),
        ("by revision", {"mirror": "models/own/other"}, "models/own/other"),
        ("by revision", {"path": "here"}, "no folder of a mirror"),
    ],
)
def test_a_marker_of_another_place_is_told(tmp_path, kind, place, words):
    problem = marker_flaw(marker(tmp_path, kind, SUMS[kind], **place), MODELS[kind])
    assert problem == (
        f"says that the model is in {words}, which is not its own; run 'beft fetch --model m'"
    )


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"sha256": 3}'])
def test_a_marker_that_is_damaged_or_missing_is_one_line(tmp_path, content):
    path = marker(tmp_path, "local", LOCAL)
    path.write_text(content)
    with pytest.raises(UserError, match=f"{path}: damaged"):
        marker_flaw(path, MODELS["local"])
    path.unlink()
    with pytest.raises(UserError, match=f"{path}: missing; run 'beft fetch --model m' first"):
        marker_flaw(path, MODELS["local"])


def test_a_dataset_is_the_one_that_its_folder_is_named_after(tmp_path):
    one, two = dataset(tmp_path, version=1), dataset(tmp_path, b"others", version=2)
    assert source_flaw(one) is None is source_flaw(two)
    aside = one.rename(tmp_path / "aside")
    two.rename(one)
    aside.rename(two)
    assert source_flaw(one) == "source.json is of another dataset than the folder's name says"
    assert source_flaw(two) == source_flaw(one)
    other = one.parent.parent / "other" / one.name
    shutil.copytree(two, other)  # of another task
    assert source_flaw(other) == source_flaw(one)


def test_a_dataset_was_read_from_the_files_that_its_name_says(tmp_path):
    problem = source_flaw(dataset(tmp_path, promised="e5"))
    assert problem == "source.json: split 'train' was read from another file than its name says"


@pytest.mark.parametrize("content", [b"[]", b"{}", b"{", b'{"source": {}, "task": "t"}'])
def test_a_dataset_that_says_nothing_is_damaged(tmp_path, content):
    folder = tmp_path / "t" / digest({})
    write_folder(folder, {"train.parquet": b"", "source.json": content})
    assert source_flaw(folder) == "source.json is damaged"


def verdict(folder: Path, kind: str, trained: dict, source: Path, listed: dict | None) -> str:
    """Why a run that recorded these inputs is foreign, or nothing; and `listed` is its marker."""
    path = folder / "nowhere" if listed is None else marker(folder, kind, listed)
    made = replace(recipe(), model=MODELS[kind])
    return Inputs().foreign(made, trained, source, path) or ""


def test_a_run_is_of_the_data_that_are_here(tmp_path):
    source = dataset(tmp_path)
    ours = {"source": split_checksums(source), "model": LOCAL}
    theirs = ours | {"source": {"train.parquet": sha256(source / "source.json")}}
    assert verdict(tmp_path, "local", ours, source, None) == ""
    said = verdict(tmp_path, "local", theirs, source, None)
    assert said.startswith(f"trained on other data than {source} should have; restore those, or ")
    assert "'beft verify --repair'" in said
    # Data that are not what their place says give away the runs that were trained on them.
    swapped = source.rename(source.with_name("0" * 16))
    assert "trained on other data" in verdict(tmp_path, "local", ours, swapped, None)
    assert verdict(tmp_path, "local", theirs, swapped, None) == ""
    # What is damaged or absent is not compared, even if its checksums were written again.
    damaged = source.with_name("damaged")
    write_folder(damaged, {"train.parquet": b"", "source.json": b"[]"})
    assert source_flaw(damaged) == "source.json is damaged"
    for recorded in (theirs, ours | {"source": split_checksums(damaged)}):
        assert verdict(tmp_path, "local", recorded, damaged, None) == ""
    (swapped / "source.json").write_bytes(b"{}")
    assert verdict(tmp_path, "local", theirs, swapped, None) == ""
    assert verdict(tmp_path, "local", theirs, tmp_path / "nowhere", None) == ""


@pytest.mark.parametrize(
    ("kind", "trained", "listed", "is_foreign"),
    [
        ("local", LOCAL, LOCAL, False),
        ("local", LOCAL, PINNED, False),  # a wrong marker, which is told apart, and a right run
        ("local", LOCAL, None, False),
        ("local", PINNED, PINNED, True),  # trained while the marker was wrong
        ("local", PINNED, None, True),
        ("pinned", PINNED, PINNED, False),
        ("pinned", PINNED, PINNED | {"config.json": "f6"}, True),
        ("pinned", LOCAL, LOCAL, True),
        ("by revision", PINNED, PINNED, False),
        ("by revision", PINNED, None, False),
        ("by revision", PINNED, LOCAL, True),
    ],
)
def test_a_run_is_of_the_weights_that_its_recipe_names(tmp_path, kind, trained, listed, is_foreign):
    recorded = {"source": {}, "model": trained}
    said = verdict(tmp_path, kind, recorded, tmp_path / "nowhere", listed)
    assert said.startswith("trained on other weights than ") == is_foreign == bool(said)


def test_json_is_read_again_once_it_has_changed(tmp_path):
    source = dataset(tmp_path)
    before = split_checksums(source)
    (source / "checksums.json").write_text(json.dumps(before | {"test.parquet": "1"}))
    assert split_checksums(source) == before | {"test.parquet": "1"}
