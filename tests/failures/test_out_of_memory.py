"""A device that refuses large passes: smaller ones, recorded, and the same results.

Sums over a batch are taken in other orders, in float32, so gradients are equal up to rounding.
Where one is near zero, Adam makes a step of rounding: values are compared to half of a step.
Biases of keys are not compared: the encoder ignores them, and their gradients are rounding alone.
"""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from failures.test_killed import prepared
from safetensors.numpy import load_file
from support import sandbox

from beft.study.project import load

HALF_A_STEP = 5e-4
KINDS = ["encoder", "decoder"]


@pytest.fixture(scope="module", params=KINDS)
def plenty(request, tmp_path_factory) -> Path:
    """A pack of every kind of run, trained where memory was no question; nothing else is known."""
    folder = prepared(tmp_path_factory.mktemp(request.param) / "project", request.param)
    empty = Path(shutil.copytree(folder, folder.with_name("empty")))
    done = sandbox.beft(folder, "train", manifest(empty))
    assert done.status == 0, done.said
    return folder


@pytest.fixture
def scarce(plenty, tmp_path) -> Path:
    return Path(shutil.copytree(plenty.with_name("empty"), tmp_path / "scarce"))


def manifest(folder: Path) -> str:
    return f"data/packs/{next(iter(load(folder / 'params.yaml').packs))}"


def runs(folder: Path) -> dict[str, Path]:
    found = (folder / "data" / "runs").glob("*/*/*/*/*/*")
    return {f"{path.parents[1].name}/{path.parent.name}": path for path in found}


def facts(folder: Path) -> dict[str, dict]:
    return {n: json.loads((p / "provenance.json").read_text()) for n, p in runs(folder).items()}


def check_equal(one: Path, two: Path) -> None:
    assert runs(one).keys() == runs(two).keys() != set()
    for name, path in runs(one).items():
        other = runs(two)[name]
        for file in path.glob("*.safetensors"):
            if file.name == "predictions.safetensors":
                continue  # of encoders: logits, of generated text: tokens; both follow from these
            first, second = load_file(file), load_file(other / file.name)
            assert first.keys() == second.keys()
            for key, values in first.items():
                if file.name == "biases.safetensors" and key.endswith("/k"):
                    continue
                where = f"{name} {file.name} {key}"
                np.testing.assert_allclose(second[key], values, 1e-4, HALF_A_STEP, err_msg=where)
        for key in ("status", "best_epoch", "splits", "trainable_params"):
            metrics = [json.loads((p / "metrics.json").read_text())[key] for p in (path, other)]
            assert metrics[0] == metrics[1], (name, key)


def test_smaller_passes_give_the_same_results(plenty, scarce):
    kind = plenty.parent.name.rstrip("0123456789")
    largest = {"encoder": 160, "decoder": 120}[kind]
    done = sandbox.beft(scarce, "train", manifest(scarce), plant=("support.scarce.limit", largest))
    assert done.status == 0, done.said
    assert "did not fit; going on with" in done.said
    check_equal(plenty, scarce)
    for name, origin in facts(plenty).items():
        assert origin["passes_refused"] == 0
        whole_batches = kind == "encoder" and name.startswith(("full", "untuned"))
        assert (origin["tokens_per_pass"] is None) == whole_batches
    for name, origin in facts(scarce).items():
        assert origin["passes_refused"] > 0, name
        if origin["tokens_per_pass"] is not None:
            assert origin["tokens_per_pass"] < facts(plenty)[name]["tokens_per_pass"]


def test_where_not_even_one_example_fits(scarce):
    before = sandbox.marks(scarce)
    done = sandbox.beft(scarce, "train", manifest(scarce), plant=("support.scarce.limit", 3))
    assert done.status == 2
    assert re.search("out of memory on cpu|one example does not fit into memory", done.line())
    assert "Traceback" not in done.said
    assert not (scarce / "data" / "runs").exists() and not (scarce / manifest(scarce)).exists()
    assert {n: m for n, m in sandbox.marks(scarce).items() if n in before} == before


def test_refusals_are_remembered_when_resumed(plenty, scarce):
    """Killed after passes were refused: the size of passes and their number are kept."""
    arguments = ("train", "--checkpoint-seconds", "0", manifest(scarce))
    done = sandbox.beft(scarce, *arguments, plant=("support.scarce.limit_until_killed", 160))
    assert done.status == -9
    done = sandbox.beft(scarce, *arguments)
    assert done.status == 0 and "resumed" in done.said
    first = next(n for n in facts(scarce) if n.startswith("b_v"))
    assert facts(scarce)[first]["passes_refused"] > 0
    assert facts(scarce)[first]["tokens_per_pass"] < facts(plenty)[first]["tokens_per_pass"]
    check_equal(plenty, scarce)
