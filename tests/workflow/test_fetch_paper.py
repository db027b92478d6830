"""`beft fetch --study paper` brings everything, from a hub that lists what the real one does."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from support import hub, paper_hub, sandbox
from transformers import AutoModelForCausalLM

from beft.study.params import load_params

LLAMA = "models.llama-2-7b"
PICKLED = {
    "facebook/opt-1.3b": ["pytorch_model.bin"],
    "facebook/opt-6.7b": [f"pytorch_model-0000{i}-of-00002.bin" for i in (1, 2)],
    "EleutherAI/gpt-j-6b": ["pytorch_model.bin"],
    "deepseek-ai/deepseek-coder-1.3b-base": ["pytorch_model.bin"],
}


class Place:
    """A project with this repository's params.yaml and studies, and the hub that it asks."""

    def __init__(self, folder: Path, server: hub.Hub):
        self.folder, self.server = folder, server
        shutil.copyfile(sandbox.ROOT / "params.yaml", folder / "params.yaml")
        shutil.copytree(sandbox.ROOT / "studies", folder / "studies")
        caches = {"XDG_CACHE_HOME": str(folder / "cache"), "HF_HOME": str(folder / "hf")}
        self.variables = server.variables() | caches

    def beft(self, *words: str, **variables: str) -> subprocess.CompletedProcess:
        given = self.variables | variables
        return sandbox.run(self.folder, "beft", *words, check=False, real=True, **given)

    def fetch(self, *words: str, **variables: str) -> subprocess.CompletedProcess:
        return self.beft("fetch", "--study", "paper", *words, **variables)

    def manifest(self) -> dict:
        return json.loads((self.folder / "data/mirror/manifest.json").read_text())


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Place:
    with hub.serving() as server:
        paper_hub.fill(server, load_params(sandbox.ROOT / "params.yaml"))
        yield Place(tmp_path_factory.mktemp("paper"), server)


@pytest.fixture
def fetched(place) -> Place:
    """The same with everything in it, whichever test comes first."""
    assert place.fetch(HF_TOKEN=hub.TOKEN).returncode == 0
    return place


def large(server: hub.Hub) -> set[str]:
    """The large files that went out."""
    return {answer.path for answer in server.answers if answer.path.endswith(hub.LARGE)}


def test_the_paper_needs_no_hand(place):
    """Sizes first; then all but the gated model, which is named at once; then that one too."""
    server = place.server
    before = place.fetch("--check")
    assert before.returncode == 2 and large(server) == set()
    lines = before.stdout.splitlines()
    assert lines[0].startswith("0 datasets and models") and lines[1].startswith("24 to fetch: ")
    assert len(lines) == 2 + 8 + 17
    assert f"{LLAMA}: size not known, missing" in lines
    assert sum("its pickled weights are converted" in line for line in lines) == 4
    (gated,) = [line for line in before.stderr.splitlines() if "gated" in line]

    done = place.fetch()
    assert done.returncode == 2, done.stderr
    (first, *_) = done.stderr.splitlines()
    assert f"; but {first.removeprefix('beft: ')}" in gated
    assert f"{server.address}/{paper_hub.GATED}" in first and "'hf auth login'" in first
    assert [line for line in done.stderr.splitlines() if line.startswith("beft: ")] == [first]
    assert done.stdout.startswith("24 to fetch: ") and "GB free" in done.stdout.splitlines()[0]

    server.forget()
    done = place.fetch(HF_TOKEN=hub.TOKEN)
    assert done.returncode == 0, done.stderr
    names = server.repositories["models", paper_hub.GATED]
    assert large(server) == {name for name in names if name.endswith(".safetensors")}
    after = place.fetch("--check", HF_HUB_OFFLINE="1")
    assert after.returncode == 0 and after.stdout.startswith("25 datasets and models are as pinned")


def test_the_mirror_holds_safetensors_and_says_what_they_were_made_of(fetched):
    mirror, manifest = fetched.folder / "data/mirror", fetched.manifest()
    assert not [p for p in mirror.rglob("*") if p.suffix in (".bin", ".h5", ".msgpack", ".ot")]
    assert {n.removeprefix("models/"): sorted(e["pickled"]) for n, e in manifest.items()
            if "pickled" in e} == PICKLED  # fmt: skip
    for name, files in PICKLED.items():
        repository = fetched.server.repositories["models", name]
        known = manifest[f"models/{name}"]["pickled"]
        assert known == {file: hub._digest(file, repository[file]) for file in files}
    assert not list((mirror / ".fetching").iterdir())


@pytest.mark.parametrize("name", PICKLED)
def test_a_converted_model_answers_as_the_original(fetched, name, tmp_path):
    for file, content in fetched.server.repositories["models", name].items():
        (tmp_path / file).write_bytes(content)
    given = torch.tensor([[2, 40, 75, 81, 5]])
    folders = tmp_path, fetched.folder / "data/mirror/models" / name
    one, two = (AutoModelForCausalLM.from_pretrained(f, dtype="auto").eval() for f in folders)
    assert one.dtype == two.dtype == torch.float16
    assert torch.equal(one(given).logits, two(given).logits)
    if name == "facebook/opt-6.7b":
        index = json.loads((folders[1] / "model.safetensors.index.json").read_text())
        for file in set(index["weight_map"].values()):
            with safe_open(folders[1] / file, "np") as opened:
                assert set(opened.keys()) == {
                    key for key, place in index["weight_map"].items() if place == file
                }


def test_every_split_is_whole(fetched):
    for task in ("mnli", "cb", "squad", "drop", "record"):
        (source,) = (fetched.folder / "data/sources" / task).glob("*/source.json")
        rows = {
            name: split["rows"] for name, split in json.loads(source.read_text())["read"].items()
        }
        assert rows["train"] == paper_hub.ROWS * (2 if task == "mnli" else 1)
