"""Runs with fitted heads from params.yaml to run folders: what they say, hold and resume."""

import os
import signal
from pathlib import Path

import pytest
from safetensors.torch import load_file
from support import sandbox

from beft.adapters.host import Host, values_of
from beft.cli.data import fetch, subsample
from beft.store.files import read_json
from beft.store.run_folder import open_run
from beft.study.project import Project, load
from beft.training import pack as runner
from beft.training.shared import Loader
from beft.training.state import Interrupted

PAIRS = {"objective": "contrastive_pairs", "held_out": 0.25}
STUDY = sandbox.STUDY | {
    "techniques": ["linear_probe"],
    "selectors": [],
    "also": [{"techniques": ["b_v"], "seeds": [0, 1], "training": PAIRS}],
}
FILES = ("metrics.json", "history.csv", "head.safetensors", "biases.safetensors")


def prepared(folder: Path) -> Project:
    sandbox.make(folder, study=STUDY)
    fetch(params=folder / "params.yaml")
    project = load(folder / "params.yaml")
    for subset in project.subsets:
        subsample(folder / "data" / "subsets" / subset, params=folder / "params.yaml")
    return project


def run(project: Project, stop_at: int | None = None) -> None:
    """Runs the pack; after `stop_at` reports the process gets SIGTERM."""
    seen = []

    def progress(done: int, total: int, text: str) -> None:
        seen.append(done)
        if len(seen) == stop_at:
            os.kill(os.getpid(), signal.SIGTERM)

    ((key, pack),) = project.packs.items()
    manifest = project.layout.root / "data" / "packs" / key
    runner.run_pack(project.layout, pack, manifest, progress=progress)


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    made = prepared(tmp_path_factory.mktemp("fitted"))
    run(made)
    return made


def test_a_run_says_what_it_tuned_and_holds_its_head(project):
    for recipe in project.recipes:
        folder = project.layout.run(recipe)
        metrics, probe = read_json(folder / "metrics.json"), recipe.technique == "linear_probe"
        assert metrics["status"] == "ok"
        assert metrics["trainable_params"] == (0 if probe else 32)
        assert metrics["train_examples"] == (16 if probe else 12)
        assert metrics["epochs"] == (1 if probe else 2)
        assert read_json(folder / "recipe.json")["training"]["head"] == "fitted"
        head = load_file(folder / "head.safetensors")
        shapes = {tuple(value.shape) for value in head.values()}
        assert shapes == {(2, 16), (2,)}


def test_the_head_of_a_run_answers_as_the_run_did(project):
    """`Host` takes it as any other head; it is not fitted again."""
    for recipe in project.recipes:
        loader = Loader(project.layout, "cpu")
        Host(loader, recipe).check(recipe, values_of(open_run(project.layout, recipe)))


def test_a_stopped_run_ends_with_the_same_bytes(project, tmp_path):
    other = prepared(tmp_path / "stopped")
    with pytest.raises(Interrupted):
        run(other, stop_at=3)
    run(other)
    for recipe in project.recipes:
        for name in FILES:
            one, two = (p.layout.run(recipe) / name for p in (project, other))
            assert one.read_bytes() == two.read_bytes(), (recipe.technique, name)
