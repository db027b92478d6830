"""A named model is found; an adapter's base model also has to be the one that was tuned."""

import shutil
from pathlib import Path

import huggingface_hub
import pytest
from support import own_adapters

from beft.errors import UserError
from beft.tuning.adapter_format import Base
from beft.tuning.base_model import find_base, find_named, sums_of


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


def hub_with(model: Path, cache: Path):
    """A stand-in for `snapshot_download`: the cache as it is, or filled from the hub."""

    def snapshot(hub, revision=None, allow_patterns=(), local_files_only=False):
        assert hub == "own/m"
        if not local_files_only:
            shutil.copytree(model, cache, dirs_exist_ok=True)
        elif not cache.is_dir():
            raise FileNotFoundError(cache)
        return str(cache)

    return snapshot


def test_a_named_folder_and_a_mirror(copy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_named("models/own/m").folder == copy
    monkeypatch.setenv("BEFT_MIRROR", str(tmp_path))
    found = find_named("own/m")
    assert (found.folder, found.hub, found.revision) == (copy, "own/m", None)


def test_a_model_that_a_project_has_fetched(model, tmp_path, monkeypatch):
    """For `tune`, whose work folder is elsewhere, and for `predict`."""
    fetched = shutil.copytree(model, tmp_path / "data" / "mirror" / "models" / "own" / "m")
    (tmp_path / "data" / "mirror" / "manifest.json").write_text(
        '{"models/own/m": {"revision": "r1", "sha256": {}}}'
    )
    monkeypatch.chdir(tmp_path)
    found = find_named("own/m@r1")
    assert (found.folder, found.revision) == (fetched, "r1")
    assert find_base(Base(hub="own/m", sha256=sums_of(fetched)), tmp_path / "a") == fetched
    with pytest.raises(UserError, match=r"--model own/m@r2: .*data/mirror/models/own/m: of revisi"):
        find_named("own/m@r2")


@pytest.mark.parametrize("cached", [(), ("config.json",), ("config.json", "tokenizer.json")])
def test_what_a_cache_lacks_is_fetched(model, tmp_path, monkeypatch, cached):
    """Other programs leave the configuration or the tokenizer alone there."""
    cache = tmp_path / "cache" / "c0ffee"
    for name in cached:
        cache.mkdir(parents=True, exist_ok=True)
        shutil.copy(model / name, cache)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub_with(model, cache))
    found = find_named("own/m")
    assert (found.folder, found.revision) == (cache, "c0ffee")
    assert (cache / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("own/none", r"no usable copy .*own/none: no such folder; the hub: .*check the name"),
        ("a/b/c", "no such folder, and no id of the hub"),
        ("./m", "no such folder, and no id of the hub"),
        ("~nobody/m", "no such folder, and no id of the hub"),
        ("", "no such folder, and no id of the hub"),
        ("@r1", "no such folder, and no id of the hub"),
    ],
)
def test_a_name_of_nothing(tmp_path, monkeypatch, name, problem):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=problem) as raised:
        find_named(name)
    assert "\n" not in str(raised.value)
