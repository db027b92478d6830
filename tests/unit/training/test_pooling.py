"""Runs whose heads read the mean of all tokens, beside runs whose heads read the first one."""

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.numpy import load_file
from support import sandbox, tiny
from support.trained import everything
from transformers import AutoModel

from beft.adapters.export import export
from beft.adapters.host import Host, values_of
from beft.operations.verify_metrics import Answers, metrics_flaw
from beft.store.files import read_json
from beft.store.run_folder import open_run
from beft.training.shared import Loader

STUDY = sandbox.STUDY | {
    "techniques": ["b_v", "b_k", "full", "lora", "untuned"],
    "skip_inert": True,
    "training": {"epochs": 2, "lora_rank": 2, "lora_alpha": 2},
}
MEAN = {"training": STUDY["training"] | {"pooling": "mean"}}


def runs_of(folder: Path, study: dict) -> tuple:
    """The project, and (technique, pooling) -> its run."""
    project = everything(sandbox.make(folder, study=study))
    runs = [open_run(project.layout, recipe) for recipe in project.recipes]
    return project, {(r.recipe.technique, r.recipe.pooling): r for r in runs if r.is_written}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return runs_of(tmp_path_factory.mktemp("both"), STUDY | {"also": [MEAN]})


def test_both_are_trained_in_one_pack_and_b_k_in_none(made):
    project, runs = made
    assert len(project.packs) == 1
    techniques = ["b_v", "full", "lora", "untuned", "all_biases"]
    assert set(runs) == {(t, p) for t in techniques for p in ("first", "mean")}
    assert all(run.status == "ok" for run in runs.values())
    heads = {p: set(runs["b_v", p].head("last")) for p in ("first", "mean")}
    assert heads["mean"] == {"classifier.weight", "classifier.bias"}
    assert heads["first"] == heads["mean"] | {"bert.pooler.dense.bias"}
    told = {p: runs["b_v", p].metrics for p in heads}
    assert told["mean"]["trainable_params"] == told["first"]["trainable_params"]
    pooler = tiny.WIDTH**2  # its bias is part of the head
    assert told["first"]["encoder_params"] - told["mean"]["encoder_params"] == pooler
    gradients = [runs["untuned", p].gradients("mean_square")["v"] for p in heads]
    assert gradients[0].shape == gradients[1].shape and (gradients[0] != gradients[1]).any()


def test_a_run_ends_as_it_does_without_the_others(made, tmp_path):
    _, runs = made
    _, alone = runs_of(tmp_path, STUDY | MEAN | {"techniques": ["b_v"], "selectors": []})
    ours, theirs = (r["b_v", "mean"].folder for r in (runs, alone))
    assert read_json(ours / "recipe.json") == read_json(theirs / "recipe.json")
    found, expected = (load_file(f / "biases.safetensors") for f in (ours, theirs))
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-5, abs=2e-6), name


def test_its_own_biases_and_head_answer_as_the_run_did(made):
    project, runs = made
    run = runs["b_v", "mean"]
    host = Host(Loader(project.layout, "cpu"), run.recipe)
    host.check(run.recipe, values_of(run))
    answers = Answers(project.layout)
    assert [metrics_flaw(r, answers) for r in runs.values()] == [None] * len(runs)


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
def test_an_exported_run_answers_as_it_did(made, tmp_path):
    """PEFT puts the biases into the bare model; the head is a file beside them."""
    project, runs = made
    run = runs["b_v", "mean"]
    export(project, run.recipe.digest, tmp_path / "out", "last")
    bare = AutoModel.from_pretrained(project.root / "models" / "tiny")
    tuned = PeftModel.from_pretrained(bare, tmp_path / "out").eval()
    head = load_file(tmp_path / "out" / "head.safetensors")
    data = Loader(project.layout, "cpu").split(run.recipe, "validation")
    with torch.no_grad():
        means = [
            tuned(torch.tensor([ids]), token_type_ids=torch.tensor([types])).last_hidden_state[0]
            for ids, types in zip(data.ids, data.types, strict=True)
        ]
    logits = torch.stack([m.mean(0) for m in means]).numpy() @ head["classifier.weight"].T
    found = (logits + head["classifier.bias"]).argmax(1)
    assert found.tolist() == run.predictions("last")["validation"].tolist()
