"""An adapter's base model is found, and only accepted if it is the one that was tuned."""

import shutil

import pytest
from support import own_adapters

from beft.errors import UserError
from beft.tuning.adapter_format import Base
from beft.tuning.base import find_base, sums_of


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return own_adapters.model(tmp_path_factory.mktemp("base") / "m")


@pytest.fixture
def copy(model, tmp_path):
    return shutil.copytree(model, tmp_path / "models" / "own" / "m")


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """No hub, and an empty cache of it."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("BEFT_MIRROR", raising=False)


def test_where_the_adapter_says(copy, tmp_path):
    base = Base(path="../models/own/m", sha256=sums_of(copy))
    (tmp_path / "a").mkdir()
    assert find_base(base, tmp_path / "a") == copy


def test_in_the_mirror(copy, tmp_path, monkeypatch):
    base = Base(hub="own/m", revision="r1", sha256=sums_of(copy))
    monkeypatch.setenv("BEFT_MIRROR", str(tmp_path))
    assert find_base(base, tmp_path / "a") == copy


def test_given(copy, tmp_path):
    base = Base(path="nowhere", sha256=sums_of(copy))
    assert find_base(base, tmp_path / "a", copy) == copy
    with pytest.raises(UserError, match="nowhere: no such folder; .*a was tuned on nowhere"):
        find_base(base, tmp_path / "a", tmp_path / "nowhere")


def test_nowhere(copy, tmp_path):
    base = Base(hub="own/m", revision="r1", sha256=sums_of(copy))
    with pytest.raises(UserError, match=r"a: its base model, own/m \(revision r1\), is not found"):
        find_base(base, tmp_path / "a")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_another_file(copy, tmp_path, name):
    base = Base(path="../models/own/m", sha256=sums_of(copy))
    with (copy / name).open("ab") as file:
        file.write(b" ")
    with pytest.raises(UserError, match=f"{name}: not the file that the adapter was tuned on"):
        find_base(base, tmp_path / "a")


def test_a_file_less_or_more(copy, tmp_path):
    base = Base(path="../models/own/m", sha256=sums_of(copy))
    (copy / "added_tokens.json").write_text("{}")
    with pytest.raises(UserError, match="added_tokens.json: not a file of the model"):
        find_base(base, tmp_path / "a", copy)
    (copy / "added_tokens.json").unlink()
    (copy / "model.safetensors").unlink()
    with pytest.raises(UserError, match="model.safetensors: missing"):
        find_base(base, tmp_path / "a", copy)
