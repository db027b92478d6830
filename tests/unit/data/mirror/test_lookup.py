"""Where datasets and models are looked for, what is believed of them, and how they get there."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support import tiny

from beft.data.mirror import fetch, lookup
from beft.errors import UserError
from beft.study import params as P
from beft.study.grid import model_source
from beft.study.identity import digest, sha256

SPLITS = ["train", "validation"]
TASK = P.Task(hub="own/data", config="c1", revision="r1")
PLACE = "datasets/own/data/c1"
MODEL = P.Model(hub="own/m", revision="r1")


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    """No network: whoever asks the hub gets an error at once."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("BEFT_MIRROR", raising=False)


@pytest.fixture
def places(tmp_path, monkeypatch):
    """(project root, its own mirror, the shared mirror)."""
    monkeypatch.setenv("BEFT_MIRROR", str(tmp_path / "shared"))
    root = tmp_path / "project"
    root.mkdir()
    return root, root / "data" / "mirror", tmp_path / "shared"


def dataset(folder: Path, content: str, splits=tuple(SPLITS), place: str = PLACE) -> None:
    (folder / place).mkdir(parents=True)
    for split in splits:
        pq.write_table(pa.table({"sentence": [content]}), folder / place / f"{split}.parquet")


def model(folder: Path, weights: bytes = b"weights") -> Path:
    folder.mkdir(parents=True)
    # a header of safetensors that holds no tensor
    header = b"\x02\0\0\0\0\0\0\0{}"
    (folder / "config.json").write_text('{"model_type": "bert"}')
    (folder / "vocab.txt").write_bytes(weights)
    (folder / "model.safetensors").write_bytes(header)
    return folder


def manifest(folder: Path, place: str, revision: str, **sums: str) -> None:
    entries = {place: {"revision": revision, "sha256": sums}}
    (folder / "manifest.json").write_text(json.dumps(entries))


def find_dataset(root: Path, task: P.Task) -> Path | None:
    return lookup.find(root, lookup.dataset_piece("t", task, SPLITS))


def find_model(root: Path, given: P.Model) -> Path | None:
    return lookup.find(root, lookup.model_piece("m", given))


def test_the_shared_mirror_comes_first_and_the_projects_own_after(places):
    root, own, shared = places
    dataset(own, "own")
    assert find_dataset(root, TASK) == own / PLACE
    dataset(shared, "shared")
    assert find_dataset(root, TASK) == shared / PLACE
    model(own / "models/own/m")
    assert find_model(root, MODEL) == own / "models/own/m"
    model(shared / "models/own/m")
    assert find_model(root, MODEL) == shared / "models/own/m"


def test_without_a_shared_mirror_there_is_the_projects_own(places, monkeypatch):
    root, own, shared = places
    monkeypatch.delenv("BEFT_MIRROR")
    dataset(shared, "shared")
    assert find_dataset(root, TASK) is None
    assert lookup.mirrors(root) == [own]


def test_a_dataset_without_config_has_no_folder_for_it(places):
    root, own, _ = places
    task = P.Task(hub="own/data", revision="r1")
    dataset(own, "x", place="datasets/own/data")
    assert find_dataset(root, task) == own / "datasets/own/data"


def test_a_mirror_that_lacks_a_split_is_passed_over(places):
    root, own, shared = places
    dataset(shared, "shared", splits=["train"])
    dataset(own, "own")
    assert find_dataset(root, TASK) == own / PLACE


# What the manifest of the shared mirror says -> which copy is taken.
@pytest.mark.parametrize(
    ("revision", "checksum", "taken"),
    [
        ("r1", "right", "shared"),
        ("r1", None, "shared"),
        ("r2", "right", "own"),
        ("r2", "wrong", "own"),
        (None, None, "shared"),
    ],
    ids=["as pinned", "no checksum", "other revision", "other revision and file", "no entry"],
)
def test_another_revision_is_passed_over(places, revision, checksum, taken):
    root, own, shared = places
    dataset(own, "own")
    dataset(shared, "shared")
    file = shared / PLACE / "train.parquet"
    sums = {"train.parquet": sha256(file) if checksum == "right" else "0" * 64}
    if revision:
        manifest(shared, PLACE, revision, **(sums if checksum else {}))
    expected = {"own": own, "shared": shared}[taken] / PLACE
    assert find_dataset(root, TASK) == expected


def test_a_file_that_the_manifest_contradicts_is_refused_not_passed_over(places):
    root, own, shared = places
    dataset(own, "own")
    dataset(shared, "shared")
    manifest(shared, PLACE, "r1", **{"train.parquet": "0" * 64})
    with pytest.raises(UserError, match=r"shared/.*train\.parquet: not the file that was fetched"):
        find_dataset(root, TASK)
    model(shared / "models/own/m")
    manifest(shared, "models/own/m", "r1", **{"vocab.txt": "0" * 64})
    with pytest.raises(UserError, match=r"vocab\.txt: not the file that was fetched"):
        find_model(root, MODEL)


def test_a_pinned_checksum_chooses_among_mirrors(places):
    root, own, shared = places
    model(shared / "models/own/m")
    model(own / "models/own/m")
    weights = own / "models/own/m/model.safetensors"
    weights.write_bytes(weights.read_bytes() + b" ")
    pinned = P.Model(hub="own/m", revision="r1", sha256=sha256(weights))
    assert find_model(root, pinned) == own / "models/own/m"
    assert find_model(root, P.Model(**{**pinned.model_dump(), "sha256": "0" * 64})) is None


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package that carries a model; its weights' checksum."""
    home = model(tmp_path / "site" / "carries_a_model" / "model")
    (home.parent / "__init__.py").write_text("raise RuntimeError('never imported')")
    (home / "README.md").touch()
    monkeypatch.syspath_prepend(tmp_path / "site")
    return sha256(home / "model.safetensors")


def carried(checksum: str) -> P.Model:
    return P.Model(hub="own/m", revision="v1", package="carries_a_model/model", sha256=checksum)


def test_a_model_is_copied_from_a_package_and_noted(tmp_path, package):
    folder = fetch.ensure_model(tmp_path, "m", carried(package))
    assert folder == tmp_path / "data/mirror/models/own/m"
    names = ["config.json", "model.safetensors", "vocab.txt"]
    assert sorted(path.name for path in folder.iterdir()) == names
    noted = json.loads((tmp_path / "data/mirror/manifest.json").read_text())
    sums = {name: sha256(folder / name) for name in names}
    assert noted == {"models/own/m": {"revision": "v1", "sha256": sums}}
    shutil.rmtree(tmp_path / "site")
    assert fetch.ensure_model(tmp_path, "m", carried(package)) == folder


def test_a_package_with_other_weights_leaves_the_mirror_as_it_was(tmp_path, package):
    folder = fetch.ensure_model(tmp_path, "m", carried(package))
    weights = (folder / "model.safetensors").read_bytes()
    with pytest.raises(UserError, match=f"another sha256 than the pinned {'0' * 64}"):
        fetch.ensure_model(tmp_path, "m", carried("0" * 64))
    assert (folder / "model.safetensors").read_bytes() == weights
    assert [path.name for path in folder.parent.iterdir()] == ["m"]


def test_fetches_at_the_same_time_all_reach_the_manifest(tmp_path):
    """Lost entries would be copies whose revision nobody checks any more."""
    code = (
        "import sys; from pathlib import Path; from beft.data.mirror.staging import _note\n"
        "for i in range(20): _note(Path(sys.argv[1]), {f'{sys.argv[2]}/{i}':"
        " {'revision': 'r', 'sha256': {}}})"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", code, tmp_path, name]) for name in ("a", "b")
    ]
    assert [writer.wait() for writer in writers] == [0, 0]
    noted = json.loads((tmp_path / "manifest.json").read_text())
    assert set(noted) == {f"{name}/{i}" for name in ("a", "b") for i in range(20)}


def test_what_is_nowhere_says_where_it_was_looked_for_and_what_to_do(places):
    root, own, shared = places
    with pytest.raises(UserError) as dataset_error:
        fetch.ensure_dataset(root, "mine", TASK, SPLITS)
    with pytest.raises(UserError) as model_error:
        fetch.ensure_model(root, "tiny", MODEL)
    for error, place, command in (
        (dataset_error, PLACE, "beft fetch --task mine"),
        (model_error, "models/own/m", "beft fetch --model tiny"),
    ):
        words = [str(own / place), str(shared / place), command]
        assert all(word in str(error.value) for word in words)
    assert list(root.iterdir()) == []


def fetched(root: Path, given: P.Model) -> Path:
    """Fetches a model and returns its marker."""
    key = digest(model_source("m", given, root))
    marker = root / "data" / "models" / "m" / f"{key}.json"
    folder = fetch.fetch_model(root, "m", given)
    fetch.mark_model(root, folder, "m", given, marker, lambda folder, label, model: None)
    return marker


def test_a_local_model_is_found_again_after_the_project_has_moved(tmp_path):
    tiny.checkpoint("bert", tmp_path / "one" / "models" / "m")
    marker = fetched(tmp_path / "one", P.Model(path="models/m")).relative_to(tmp_path / "one")
    (tmp_path / "one").rename(tmp_path / "two")
    found = lookup.locate(tmp_path / "two", tmp_path / "two" / marker)
    assert found == tmp_path / "two/models/m"


def test_a_fetched_model_is_found_in_whatever_mirror_holds_it(places):
    root, own, shared = places[0], *(place / "models/own/m" for place in places[1:])
    tiny.checkpoint("bert", own)
    marker = fetched(root, MODEL)
    shutil.copytree(own, shared)
    words = (own / "tokenizer.json").read_bytes()
    (shared / "tokenizer.json").write_bytes(words + b" ")  # not what was fetched
    assert lookup.locate(root, marker) == own
    (own / "tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"tokenizer\.json: missing, or not what was fetched"):
        lookup.locate(root, marker)
    (shared / "tokenizer.json").write_bytes(words)
    assert lookup.locate(root, marker) == shared


def test_a_file_that_was_not_fetched_is_not_read(places):
    root, own = places[0], places[1] / "models/own/m"
    tiny.checkpoint("bert", own)
    marker = fetched(root, MODEL)
    (own / "README.md").write_text("read by people only")
    assert lookup.locate(root, marker) == own
    (own / "added_tokens.json").write_text("{}")
    with pytest.raises(UserError, match=r"added_tokens\.json: not among the files .*remove it"):
        lookup.locate(root, marker)
