"""Folders and files are there whole or not at all; every damage is found; one writer at a time."""

import errno
import os
import shutil

import pytest

from beft.errors import UserError
from beft.store import files

FILES = {"a.json": b"{}\n", "b.bin": bytes(range(32)), "c.csv": b"x\n1\n"}


def everything(folder) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def fail_at(monkeypatch, name: str, number: int, module=os) -> list:
    """Makes the call with that number (from 1) of a function fail; the list counts the calls."""
    calls = []
    real = getattr(module, name)

    def counted(*arguments, **options):
        calls.append(arguments)
        if len(calls) == number:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*arguments, **options)

    monkeypatch.setattr(module, name, counted)
    return calls


def test_a_folder_is_written_with_checksums(tmp_path):
    files.write_folder(tmp_path / "x" / "run", FILES)
    assert everything(tmp_path / "x") == ["run", *(f"run/{n}" for n in [*FILES, "checksums.json"])]
    assert all((tmp_path / "x/run" / n).read_bytes() == content for n, content in FILES.items())
    assert set(files.read_json(tmp_path / "x/run/checksums.json")) == set(FILES)
    assert files.flaw(tmp_path / "x/run") is None


# Each of the three files and the checksums are synced, and so is the folder that each lies in.
@pytest.mark.parametrize("number", range(1, 2 * (len(FILES) + 1) + 1))
def test_a_folder_whose_writing_fails_anywhere_is_not_there(tmp_path, monkeypatch, number):
    calls = fail_at(monkeypatch, "fsync", number)
    with pytest.raises(UserError, match=r"run: cannot be written \(No space left"):
        files.write_folder(tmp_path / "run", FILES)
    assert len(calls) == number and everything(tmp_path) == []
    files.write_folder(tmp_path / "run", FILES)
    assert files.flaw(tmp_path / "run") is None


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_leaves_nothing_half_written(tmp_path, monkeypatch, kind):
    def interrupt(*_):
        raise kind

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(kind):
        files.write_folder(tmp_path / "run", FILES)
    with pytest.raises(kind):
        files.write_file(tmp_path / "file", b"new")
    assert everything(tmp_path) == []


def test_a_folder_that_is_there_is_never_overwritten(tmp_path):
    files.write_folder(tmp_path / "run", FILES)
    with pytest.raises(UserError, match="cannot be written"):
        files.write_folder(tmp_path / "run", FILES | {"a.json": b"[]"})
    assert files.flaw(tmp_path / "run") is None
    assert (tmp_path / "run" / "a.json").read_bytes() == FILES["a.json"]
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_a_file_whose_writing_fails_keeps_its_old_content(tmp_path, monkeypatch):
    files.write_file(tmp_path / "file", b"old")
    fail_at(monkeypatch, "fsync", 1)
    with pytest.raises(UserError, match="file: cannot be written"):
        files.write_file(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old" and everything(tmp_path) == ["file"]


def test_files_have_the_rights_that_the_umask_leaves(tmp_path):
    before = os.umask(0o027)
    try:
        files.write_file(tmp_path / "file", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_every_flipped_byte_is_found(tmp_path):
    """Of every file, the checksums' own too (where a flip may also make it no JSON at all)."""
    files.write_folder(tmp_path / "run", FILES)
    for path in sorted((tmp_path / "run").iterdir()):
        content = path.read_bytes()
        for position in range(len(content)):
            flipped = bytearray(content)
            flipped[position] ^= 1
            path.write_bytes(flipped)
            if path.name != "checksums.json":
                assert files.flaw(tmp_path / "run") == f"{path.name} is damaged"
            elif content[position : position + 1] not in b" \n":  # space for space is still JSON
                assert files.flaw(tmp_path / "run") is not None
        path.write_bytes(content)
    assert files.flaw(tmp_path / "run") is None


@pytest.mark.parametrize("name", [*FILES, "checksums.json"])
def test_truncated_and_missing_files_are_found(tmp_path, name):
    files.write_folder(tmp_path / "run", FILES)
    path = tmp_path / "run" / name
    path.write_bytes(path.read_bytes()[:-2])
    assert "damaged" in files.flaw(tmp_path / "run")
    path.unlink()
    assert files.flaw(tmp_path / "run") == f"{name} is missing"
    shutil.rmtree(tmp_path / "run")
    assert files.flaw(tmp_path / "run") == "missing"


@pytest.mark.parametrize("content", ["", "[]", "{}", "null", "5", '{"a.json": 5}'])
def test_checksums_that_say_nothing_are_a_flaw(tmp_path, content):
    files.write_folder(tmp_path / "run", FILES)
    (tmp_path / "run" / "checksums.json").write_text(content)
    assert files.flaw(tmp_path / "run") is not None


def test_a_damaged_folder_is_kept_for_inspection(tmp_path):
    kept = []
    for number in range(3):
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "n").write_text(str(number))
        kept.append(files.set_aside(tmp_path / "run", tmp_path / "work" / "x.damaged"))
    assert [path.name for path in kept] == ["x.damaged", "x.damaged-2", "x.damaged-3"]
    assert [(path / "n").read_text() for path in kept] == ["0", "1", "2"]


def test_json_is_canonical_and_refuses_what_is_none(tmp_path):
    assert files.to_json({"b": 1, "a": [0.5]}) == b'{\n "a": [\n  0.5\n ],\n "b": 1\n}\n'
    with pytest.raises(ValueError):
        files.to_json({"a": float("nan")})
    with pytest.raises(UserError, match="no such file"):
        files.read_json(tmp_path / "none")
    for broken in ("{", "[" * 200_000):
        (tmp_path / "half").write_text(broken)
        with pytest.raises(UserError, match="half: damaged"):
            files.read_json(tmp_path / "half")


def test_what_killed_writers_left_is_swept_and_nothing_else(tmp_path):
    (tmp_path / ".run.abc.tmp").mkdir()
    (tmp_path / ".run.abc.tmp" / "half").touch()
    (tmp_path / ".run.def.tmp").touch()
    kept = {".running.abc.tmp", "run.tmp", "run"}
    for name in kept:
        (tmp_path / name).touch()
    files.sweep(tmp_path / "run")
    assert {path.name for path in tmp_path.iterdir()} == kept


def test_a_file_in_place_of_a_folder_is_named_and_stays(tmp_path):
    (tmp_path / "file").write_text("")
    below = tmp_path / "file" / "run"
    files.remove(below / "recipe.json")
    assert files.in_the_way(below) == files.in_the_way(tmp_path / "file") == tmp_path / "file"
    assert files.in_the_way(tmp_path) is files.in_the_way(tmp_path / "none" / "run") is None
    assert files.flaw(below) == files.IN_THE_WAY and files.all_flaws(tmp_path / "none") == [
        "missing"
    ]
    with pytest.raises(UserError, match=f"{tmp_path / 'file'}: a file lies where a folder belongs"):
        files.set_aside(below, tmp_path / "work" / "x.damaged")
    assert (tmp_path / "file").is_file()
