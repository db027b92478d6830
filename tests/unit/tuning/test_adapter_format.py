"""The files of an adapter come back as they were written, and damaged ones are named."""

import json

import pytest
import torch
from safetensors.torch import save_file
from support import own_adapters

from beft.errors import UserError
from beft.tuning.adapter_format import FACTS, VALUES, files_of, read_adapted


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return own_adapters.model(tmp_path_factory.mktemp("base") / "m")


@pytest.fixture
def folder(base, tmp_path):
    return own_adapters.adapter(tmp_path / "a", base)


def test_what_is_written_comes_back(folder):
    read = read_adapted(folder)
    assert files_of(read) == {name: (folder / name).read_bytes() for name in (FACTS, VALUES)}
    assert read.facts.meaning.classes == own_adapters.BAD_GOOD
    assert read.facts.outputs == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": 2}, "not in format 1"),
        ({"format": None}, "not in format 1"),
        ({"max_length": 0}, "max_length"),
        ({"max_length": "long"}, "max_length"),
        ({"precision": "float16"}, "precision"),
        ({"classes": "bad"}, "classes"),
        ({"texts": []}, "texts"),
        ({"mean": "nan"}, "mean"),
        ({"deviation": 0}, "deviation"),
        ({"base": {"hub": "../x", "sha256": {"a": "b"}}}, "base.hub"),
        ({"base": {"sha256": {}}}, "base.sha256"),
        ({"poolling": "mean"}, "poolling"),
    ],
)
def test_wrong_facts(folder, change, words):
    facts = json.loads((folder / FACTS).read_text())
    (folder / FACTS).write_text(json.dumps(facts | change))
    with pytest.raises(UserError, match=f"{FACTS}: .*{words}") as caught:
        read_adapted(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"{", b"\xff", b"[" * 10**5])
def test_facts_that_are_none(folder, content):
    (folder / FACTS).write_bytes(content)
    with pytest.raises(UserError, match=FACTS):
        read_adapted(folder)


def test_wrong_values(folder):
    whole = (folder / VALUES).read_bytes()
    for content in (b"", whole[:100], whole[:-1]):
        (folder / VALUES).write_bytes(content)
        with pytest.raises(UserError, match=f"{VALUES}: damaged"):
            read_adapted(folder)
    for value in (torch.tensor([1.0, float("nan")]), torch.tensor([1])):
        save_file({"x": value}, folder / VALUES)
        with pytest.raises(UserError, match=f"{VALUES}: 'x' holds"):
            read_adapted(folder)


def test_no_adapter(tmp_path):
    with pytest.raises(UserError, match="no such folder; name a folder that 'beft tune' wrote"):
        read_adapted(tmp_path / "nothing")
    with pytest.raises(UserError, match=f"no {FACTS} in it"):
        read_adapted(tmp_path)
