"""Merged biases as adapters: PEFT computes with them what the model does with the mean put in."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from support import couples
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from beft.adapters.merge import merge, weighted_mean
from beft.cli.app import app
from beft.errors import UserError
from beft.store.files import flaw, read_json
from beft.study.project import Project

BIAS = {
    "tiny": "bert.encoder.layer.{}.attention.self.value.bias",
    "rows": "deberta.encoder.layer.{}.attention.self.value_proj.bias",
    "dec": "model.decoder.layers.{}.self_attn.v_proj.bias",
    "free": "model.layers.{}.self_attn.v_proj.bias",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    return couples.make(tmp_path_factory.mktemp("couples") / "project")


def digests(project: Project, model: str, tasks=couples.TASKS, **more) -> list[str]:
    return [couples.recipe(project, model, task, **more).digest for task in tasks]


def base(project: Project, model: str, labels: int = 2):
    folder = project.root / "models" / model
    if couples.MODELS[model] == "decoder":
        return AutoModelForCausalLM.from_pretrained(folder)
    return AutoModelForSequenceClassification.from_pretrained(folder, num_labels=labels)


def logits(model, project: Project, name: str, task: str) -> torch.Tensor:
    """Of every validation sentence, the last token's for a decoder."""
    tokenizer = AutoTokenizer.from_pretrained(project.root / "models" / name)
    rows = (project.root / task / "validation.jsonl").read_text().splitlines()
    found = []
    for row in rows:
        tokens = tokenizer(json.loads(row)["sentence"], return_tensors="pt")
        with torch.no_grad():
            out = model(**tokens).logits[0]
        found.append(out[-1] if out.ndim == 2 else out)
    return torch.stack(found)


def by_hand(project: Project, model: str, task: str, shares: tuple[float, ...], epoch: str):
    """The base model with the mean of both tuned biases, and the head of one task's run."""
    made = base(project, model)
    values = []
    for each in couples.TASKS:
        run = project.layout.run(couples.recipe(project, model, each))
        best = read_json(run / "metrics.json")["best_epoch"]
        when = "post" if epoch == "last" else f"epoch-{best}"
        values.append(load_file(run / "biases.safetensors")[f"{when}/v"])
    mean = sum(share * value for share, value in zip(shares, values, strict=True))
    for layer, value in enumerate(mean):
        linear = made.get_submodule(BIAS[model].format(layer).removesuffix(".bias"))
        linear.bias = torch.nn.Parameter(value)
    run = project.layout.run(couples.recipe(project, model, task))
    head = load_file(run / "head.safetensors")
    group = f"{epoch}/"
    own = {k.removeprefix(group): v for k, v in head.items() if k.startswith(group)}
    assert not made.load_state_dict(own, strict=False).unexpected_keys
    return made.eval()


@pytest.mark.parametrize("model", couples.MODELS)
def test_an_adapter_for_each_task(project, tmp_path, model):
    told = merge(project, digests(project, model), tmp_path / "m")
    assert flaw(tmp_path / "m") is None
    for task in couples.TASKS:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected that the base layer has no bias")
            peft = PeftModel.from_pretrained(base(project, model), tmp_path / "m" / task)
        expected = logits(by_hand(project, model, task, (0.5, 0.5), "best"), project, model, task)
        found = logits(peft.eval(), project, model, task)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
        own = by_hand(project, model, task, (1.0, 0.0), "best")
        assert (logits(own, project, model, task) - expected).abs().max() > 1e-4
        # what is said of it is what its logits give
        (row,) = (r for r in told["scores"] if r["task"] == task)
        if couples.MODELS[model] == "encoder":
            labels = sorted({label for _, label in couples.TEXTS[task]})
            lines = (project.root / task / "validation.jsonl").read_text().splitlines()
            right = [labels.index(json.loads(line)["label"]) for line in lines]
            assert row["merged"] == np.mean(expected.argmax(1).numpy() == right)
        run = project.layout.run(couples.recipe(project, model, task))
        assert row["own"] == read_json(run / "metrics.json")["splits"]["validation"]["best"]


def test_weights_are_divided_by_their_sum(project, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(project.root)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    names = [digest[:12] for digest in digests(project, "tiny")]
    command = ["merge", *names, "--to", str(tmp_path / "m"), "--weights", "3,1", "--epoch", "last"]
    app([*command, "--device", "cpu", "--threads", "1"], standalone_mode=False)
    said = capsys.readouterr().out
    assert "weight 0.75" in said and "weight 0.25" in said and "divided by their sum" in said
    assert "one validation accuracy: merged" in said
    assert [run["weight"] for run in read_json(tmp_path / "m" / "merge.json")["runs"]] == [
        0.75,
        0.25,
    ]
    peft = PeftModel.from_pretrained(base(project, "tiny"), tmp_path / "m" / "two")
    expected = logits(by_hand(project, "tiny", "two", (0.75, 0.25), "last"), project, "tiny", "two")
    torch.testing.assert_close(
        logits(peft.eval(), project, "tiny", "two"), expected, atol=1e-5, rtol=1e-5
    )


def test_the_mean_of_a_bias_and_itself_is_the_bias():
    own = {"v": torch.tensor([[0.1, 0.7, 1 / 3]])}
    for number in (2, 3, 7):
        assert torch.equal(weighted_mean([own] * number, [1 / number] * number)["v"], own["v"])


def test_merge_json_says_how_far_apart_the_biases_are(project, tmp_path):
    names = [*digests(project, "tiny"), *digests(project, "tiny", ("one",), seed=1)]
    told = merge(project, names, tmp_path / "m")
    assert told == read_json(tmp_path / "m" / "merge.json")
    assert [run["folder"] for run in told["runs"]] == ["one-seed-0", "two-seed-0", "one-seed-1"]
    assert [pair["runs"] for pair in told["pairs"]] == [
        [names[0], names[1]], [names[0], names[2]], [names[1], names[2]]
    ]  # fmt: skip
    values = []
    for recipe in (couples.recipe(project, "tiny", task) for task in couples.TASKS):
        run = project.layout.run(recipe)
        best = read_json(run / "metrics.json")["best_epoch"]
        file = load_file(run / "biases.safetensors")
        values.append((file["pre/v"].double(), file[f"epoch-{best}/v"].double()))
    (pre, one), (_, two) = values
    cosine = torch.nn.functional.cosine_similarity
    pair = told["pairs"][0]
    assert pair["tuned"]["cosine"] == pytest.approx(cosine(one.ravel(), two.ravel(), 0).item())
    shifts = ((one - pre), (two - pre))
    expected = cosine(*(s.ravel() for s in shifts), 0).item()
    assert pair["shift"]["cosine"] == pytest.approx(expected)
    assert pair["shift"]["degrees"] == pytest.approx(np.degrees(np.arccos(expected)), abs=1e-4)
    layers = [layer["cosine"] for layer in pair["shift"]["layers"]]
    assert layers == pytest.approx(cosine(*shifts, 1).tolist())


def test_three_labels_and_two_have_heads_of_their_own(project, tmp_path):
    merge(project, digests(project, "tiny", ("one", "three")), tmp_path / "m")
    heads = [
        load_file(tmp_path / "m" / task / "adapter_model.safetensors")[
            "base_model.model.classifier.weight"
        ]
        for task in ("one", "three")
    ]
    assert [len(head) for head in heads] == [2, 3]


@pytest.mark.parametrize(
    ("pick", "weights", "message"),
    [
        (lambda p: digests(p, "tiny")[:1], None, "one run has nothing to be merged with"),
        (lambda p: digests(p, "tiny")[:1] * 2, None, "is named twice"),
        (lambda p: digests(p, "tiny"), [1.0], "--weights: 1 for 2 runs"),
        (lambda p: digests(p, "tiny"), [1.0, 0.0], "--weights: 0.0 is not positive"),
        (lambda p: digests(p, "tiny"), [1e308, 1e308], "--weights: too large to be compared"),
        (lambda p: digests(p, "tiny"), [1e300, 1e-300], "--weights: too large to be compared"),
        (lambda p: digests(p, "tiny"), [1.0, float("nan")], "--weights: nan is not positive"),
        (
            lambda p: [*digests(p, "tiny", ("one",)), *digests(p, "rows", ("two",))],
            None,
            "tuned model 'rows' and .* 'tiny': only biases of the same weights",
        ),
        (
            lambda p: [
                *digests(p, "tiny", ("one",)),
                *digests(p, "tiny", ("two",), technique="b_q"),
            ],
            None,
            "is of b_q and .* of b_v: they tuned other terms",
        ),
        (
            lambda p: digests(p, "tiny", technique="head_only"),
            None,
            "is of head_only, and PEFT's BEFT holds whole biases",
        ),
        (lambda p: digests(p, "tiny", technique="untuned"), None, "is of untuned"),
        (lambda p: [*digests(p, "tiny")[:1], "xyz"], None, "no run of study 'mini'"),
    ],
)
def test_what_cannot_be_merged(project, tmp_path, pick, weights, message):
    with pytest.raises(UserError, match=message):
        merge(project, pick(project), tmp_path / "m", weights)
    assert not list(tmp_path.iterdir())


def test_a_target_that_is_taken(project, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="is there already"):
        merge(project, digests(project, "tiny"), tmp_path)
    assert [p.name for p in Path(tmp_path).iterdir()] == ["mine.txt"]
