"""A run as an adapter: PEFT on the untouched base model computes what the run's own model did."""

import copy
import json
import warnings
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from support import sandbox, tiny
from support.trained import everything
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
)

from beft.adapters.export import export
from beft.cli.app import app
from beft.errors import UserError
from beft.store.files import read_json
from beft.study.project import Project, load
from beft.study.recipe import Recipe

ENCODERS = ("tiny", "roberta", "deberta-v3", "distilbert")
# Where transformers keeps the bias of a term, and what is beside the layers in the head of bert.
BIAS = {
    "tiny": {
        "q": "bert.encoder.layer.{}.attention.self.query.bias",
        "v": "bert.encoder.layer.{}.attention.self.value.bias",
        "output": "bert.encoder.layer.{}.output.dense.bias",
    },
    "roberta": {"v": "roberta.encoder.layer.{}.attention.self.value.bias"},
    "deberta-v3": {"v": "deberta.encoder.layer.{}.attention.self.value_proj.bias"},
    "distilbert": {"v": "distilbert.transformer.layer.{}.attention.v_lin.bias"},
    "dec": {"v": "model.decoder.layers.{}.self_attn.v_proj.bias"},
}
LLAMA = "model.layers.{}.self_attn.{}_proj"


def params() -> dict:
    made = copy.deepcopy(sandbox.PARAMS)
    made["models"] |= {name: {"path": f"models/{name}"} for name in ENCODERS}
    made["models"]["roberta"] = {"hub": "own/roberta", "revision": "r1"}
    made["models"]["modernbert"] = {"path": "models/modernbert"}
    for name in ("dec", "free", "gpt2", "neox"):
        made["models"][name] = {"path": f"models/{name}", "kind": "decoder"}
    made["decoder"] = {
        "objective": "cross_entropy_over_candidates",
        "max_length": 64,
        "evaluated": 9,
    }
    made["techniques"] |= {
        "lora": {"lora_rank": 2, "lora_alpha": 4},
        # Its accuracy stays the same: the first of equal epochs is the best one, not the last.
        "b_q": {"learning_rate": 1e-6},
    }
    made["tasks"]["mine"] = {
        "path": "mine",
        "text": ["sentence"],
        "labels": ["bad", "good"],
        "metric": "accuracy",
        "prompt": {
            "template": "{sentence} It was",
            "passage": "sentence",
            "answers": ["bad", "good"],
        },
        "learning_rate": 1e-2,
        "epochs": 2,
        "regimes": {"low": 8},
    }
    return made


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    """Encoders and decoders whose runs are done; those of seed 1 are not."""
    folder = tmp_path_factory.mktemp("project")
    encoders = {"models": list(ENCODERS), "tasks": ["demo_sentiment"]}
    study = {
        "models": ["tiny"],
        "tasks": ["demo_similarity"],
        "regimes": ["low"],
        "techniques": ["b_v"],
        "seeds": [0],
        "fuse_techniques": True,
        "also": [
            encoders | {"techniques": ["b_v"]},
            encoders | {"models": ["modernbert"], "techniques": ["b_v"], "selectors": []},
            {"tasks": ["demo_sentiment"], "techniques": ["b_q", "b_output", "head_only"]},
            {"models": ["dec", "free"], "tasks": ["mine"], "techniques": ["b_v", "all_biases"]},
            {"models": ["gpt2", "neox"], "tasks": ["mine"], "techniques": ["b_v"]},
            {"models": ["dec"], "tasks": ["mine"], "techniques": ["lora"]},
        ],
    }
    sandbox.make(folder, params(), study)
    for name in (*ENCODERS[2:], "modernbert"):
        tiny.checkpoint(name, folder / "models" / name)
    tiny.checkpoint("roberta", folder / "data" / "mirror" / "models" / "own" / "roberta")
    for name, architecture in (
        ("dec", "opt"),
        ("free", "llama"),
        ("gpt2", "gpt2"),
        ("neox", "gpt_neox"),
    ):
        tiny.decoder_checkpoint(architecture, folder / "models" / name)
    (folder / "mine").mkdir()
    rows = [("the film was good", "good"), ("a bad dull plot", "bad"), ("this is great", "good")]
    for split in ("train", "validation"):
        lines = [{"sentence": f"{s} {i}", "label": label} for i in range(3) for s, label in rows]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / "mine" / f"{split}.jsonl").write_text(text)
    everything(folder)
    study["also"].append(encoders | {"models": ["tiny"], "seeds": [1]})
    sandbox.write(folder / "studies" / "mini.yaml", study)
    return load(folder / "params.yaml")


def recipe(project: Project, model: str, technique: str, task: str = "", seed: int = 0) -> Recipe:
    (found,) = (
        r
        for r in project.recipes
        if (r.model["alias"], r.technique, r.seed) == (model, technique, seed)
        and r.task["name"] == (task or r.task["name"])
    )
    return found


def base(project: Project, name: str, labels: int | None = None) -> PreTrainedModel:
    """The untouched checkpoint, as anybody loads it."""
    auto = AutoModelForCausalLM if labels is None else AutoModelForSequenceClassification
    kept = {} if labels is None else {"num_labels": labels}
    place = "data/mirror/models/own" if name == "roberta" else "models"
    return auto.from_pretrained(project.root / place / name, **kept)


def by_hand(model, folder: Path, names: dict[str, str], when: str, head: str) -> PreTrainedModel:
    """The base model with the values that stand in the run's folder."""
    biases, heads = load_file(folder / "biases.safetensors"), load_file(folder / "head.safetensors")
    values = {
        name.format(layer): values
        for term, name in names.items()
        for layer, values in enumerate(biases[f"{when}/{term}"])
    }
    group = f"{head}/"
    values |= {k.removeprefix(group): v for k, v in heads.items() if k.startswith(group)}
    unknown = model.load_state_dict(values, strict=False).unexpected_keys
    assert not unknown
    return model


def texts(project: Project, made: Recipe) -> list[list[str]]:
    table = pq.read_table(project.layout.source(made) / "validation.parquet")
    return [table[column].to_pylist() for column in made.task["text"]]


def logits(model: PreTrainedModel, project: Project, made: Recipe) -> torch.Tensor:
    place = project.root / "models" / made.model["alias"]
    if made.model["alias"] == "roberta":
        place = project.root / "data" / "mirror" / "models" / "own" / "roberta"
    tokens = AutoTokenizer.from_pretrained(place)(
        *texts(project, made), padding=True, truncation=True, max_length=32, return_tensors="pt"
    )
    with torch.no_grad():
        return model(**tokens).logits


def close(one: torch.Tensor, other: torch.Tensor) -> None:
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "technique", "task"),
    [
        *((name, "b_v", "demo_sentiment") for name in ENCODERS),
        ("tiny", "b_output", "demo_sentiment"),
        ("tiny", "b_v", "demo_similarity"),
    ],
)
def test_an_encoder(project, tmp_path, name, technique, task):
    made = recipe(project, name, technique, task)
    assert export(project, made.digest, tmp_path / "a", "last") == made
    labels = 1 if task == "demo_similarity" else 2
    term = technique.removeprefix("b_")
    folder = project.layout.run(made)
    names = {term: BIAS[name][term]}
    mine = by_hand(base(project, name, labels), folder, names, "post", "last")
    theirs = PeftModel.from_pretrained(base(project, name, labels), tmp_path / "a")
    expected, found = logits(mine, project, made), logits(theirs, project, made)
    assert found.shape == (200, labels)
    close(found, expected)
    with theirs.disable_adapter():  # else the check above would hold for any head
        assert (logits(theirs, project, made) - expected).abs().max() > 1e-2
    predicted = load_file(folder / "predictions.safetensors")["last/validation"]
    decided = found[:, 0] if labels == 1 else found.argmax(1).to(predicted)
    close(decided, predicted.to(decided))
    if name == "roberta":  # PEFT cannot unwrap a head of several linears
        theirs.merge_adapter()
        close(logits(theirs, project, made), expected)
    else:
        close(logits(theirs.merge_and_unload(), project, made), expected)


def test_rows_of_a_fused_linear_that_had_no_bias(project, tmp_path):
    """PEFT adds to the whole linear: zeros to the rows of q and k."""
    made = recipe(project, "modernbert", "b_v")
    export(project, made.digest, tmp_path / "a", "last")
    theirs = PeftModel.from_pretrained(base(project, "modernbert", 2), tmp_path / "a")
    found = logits(theirs, project, made)
    predictions = load_file(project.layout.run(made) / "predictions.safetensors")
    assert torch.equal(found.argmax(1), predictions["last/validation"].to(torch.int64))
    with theirs.disable_adapter():
        assert (logits(theirs, project, made) - found).abs().max() > 1e-2


def likelihoods(model: PreTrainedModel, project: Project) -> torch.Tensor:
    """Log-likelihood of each one-token answer after each prompt, (rows, 2)."""
    tokenizer = AutoTokenizer.from_pretrained(project.root / "models" / "dec")
    rows = (project.root / "mine" / "validation.jsonl").read_text().splitlines()
    answers = [
        tokenizer(f" {word}", add_special_tokens=False).input_ids for word in ("bad", "good")
    ]
    assert all(len(answer) == 1 for answer in answers)
    found = []
    for row in rows:
        prompt = tokenizer(f"{json.loads(row)['sentence']} It was", return_tensors="pt")
        with torch.no_grad():
            last = model(**prompt).logits[0, -1].log_softmax(-1)
        found.append(last[[token for (token,) in answers]])
    return torch.stack(found)


def recorded(project: Project, made: Recipe) -> torch.Tensor:
    file = project.layout.run(made) / "predictions.safetensors"
    return load_file(file)["last/validation"].long()


def test_a_decoder_with_biases(project, tmp_path):
    made = recipe(project, "dec", "b_v")
    export(project, made.digest, tmp_path / "a", "last")
    mine = by_hand(base(project, "dec"), project.layout.run(made), BIAS["dec"], "post", "last")
    theirs = PeftModel.from_pretrained(base(project, "dec"), tmp_path / "a")
    expected = likelihoods(mine, project)
    close(likelihoods(theirs, project), expected)
    assert (likelihoods(base(project, "dec"), project) - expected).abs().max() > 1e-2
    assert torch.equal(expected.argmax(1), recorded(project, made))
    merged = theirs.merge_and_unload()
    close(likelihoods(merged, project), expected)
    values = load_file(project.layout.run(made) / "biases.safetensors")["post/v"]
    close(merged.get_parameter(BIAS["dec"]["v"].format(1)).detach(), values[1])


@pytest.mark.parametrize(("technique", "terms"), [("b_v", "v"), ("all_biases", "qkv")])
def test_a_decoder_without_biases(project, tmp_path, technique, terms):
    made = recipe(project, "free", technique)
    export(project, made.digest, tmp_path / "a", "last")
    biases = load_file(project.layout.run(made) / "biases.safetensors")
    mine = base(project, "free")
    for term in terms:
        for layer, values in enumerate(biases[f"post/{term}"]):
            linear = mine.get_submodule(LLAMA.format(layer, term))
            assert linear.bias is None
            linear.bias = torch.nn.Parameter(values)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Detected that the base layer has no bias")
        theirs = PeftModel.from_pretrained(base(project, "free"), tmp_path / "a")
    expected = likelihoods(mine, project)
    close(likelihoods(theirs, project), expected)
    assert (likelihoods(base(project, "free"), project) - expected).abs().max() > 1e-2
    assert torch.equal(expected.argmax(1), recorded(project, made))
    with pytest.raises(ValueError, match="no bias, cannot merge"):
        theirs.merge_and_unload()


def test_rows_of_a_fused_linear(project, tmp_path):
    """The rows of v in each layer, which lie between those of q and k, head by head."""
    made = recipe(project, "neox", "b_v")
    export(project, made.digest, tmp_path / "a", "last")
    theirs = PeftModel.from_pretrained(base(project, "neox"), tmp_path / "a")
    key = "base_model.model.gpt_neox.layers.0.attention.query_key_value.beft_bias"
    (shift,) = load_file(tmp_path / "a" / "adapter_model.safetensors")[key]
    width = tiny.WIDTH // tiny.HEADS
    parts = shift.view(tiny.HEADS, 3, width)
    assert (parts[:, :2] == 0).all() and (parts[:, 2] != 0).all()
    assert torch.equal(likelihoods(theirs, project).argmax(1), recorded(project, made))
    assert not torch.equal(
        likelihoods(base(project, "neox"), project), likelihoods(theirs, project)
    )


def test_the_best_epoch_and_the_last(project, tmp_path, monkeypatch, capsys):
    made = recipe(project, "tiny", "b_q")
    folder = project.layout.run(made)
    assert read_json(folder / "metrics.json")["best_epoch"] == 1 < made.training["epochs"]
    monkeypatch.chdir(project.root)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    command = ["export", made.digest[:12], "--to"]
    app([*command, str(tmp_path / "best")], standalone_mode=False)
    app([*command, str(tmp_path / "last"), "--epoch", "last"], standalone_mode=False)
    assert made.folder() in capsys.readouterr().out
    biases, heads = load_file(folder / "biases.safetensors"), load_file(folder / "head.safetensors")
    key = "base_model.model.bert.encoder.layer.1.attention.self.query.beft_bias"
    found = []
    for epoch, when in (("best", "epoch-1"), ("last", "post")):
        written = load_file(tmp_path / epoch / "adapter_model.safetensors")
        expected = biases[f"{when}/q"][1] - biases["pre/q"][1]
        assert torch.equal(written[key], expected.reshape(1, tiny.WIDTH))
        found.append(written["base_model.model.classifier.weight"])
        assert torch.equal(found[-1], heads[f"{epoch}/classifier.weight"])
    assert not torch.equal(*found)


def test_what_an_adapter_says_of_itself(project, tmp_path):
    made = recipe(project, "roberta", "b_v")
    export(project, made.digest, tmp_path / "a")
    config = read_json(tmp_path / "a" / "adapter_config.json")
    expected = {
        "peft_type": "BEFT",
        "task_type": "SEQ_CLS",
        "base_model_name_or_path": "own/roberta",
        "revision": "r1",
        "inference_mode": True,
        "modules_to_save": ["classifier"],
        "target_modules": [f"roberta.encoder.layer.{i}.attention.self.value" for i in range(2)],
    }
    assert {key: config[key] for key in expected} == expected
    assert read_json(tmp_path / "a" / "recipe.json") == made.to_dict()
    export(project, recipe(project, "dec", "b_v").digest, tmp_path / "b")
    config = read_json(tmp_path / "b" / "adapter_config.json")
    assert (config["task_type"], config["modules_to_save"]) == ("CAUSAL_LM", None)
    assert config["base_model_name_or_path"] == str(project.root / "models" / "dec")


@pytest.mark.parametrize(
    ("model", "technique", "message"),
    [
        ("dec", "lora", r"is of lora, and PEFT's BEFT holds whole biases .*export a run of b_q"),
        ("tiny", "head_only", r"is of head_only, and PEFT's BEFT holds whole biases"),
        (
            "gpt2",
            "b_v",
            r"tuned rows of one fused linear \(transformer.h.0.attn.c_attn\), a Conv1D",
        ),
        (
            "dec",
            "all_biases",
            r"\(all_biases\) tuned attention_norm, output_norm, which are not biases of linears",
        ),
    ],
)
def test_runs_that_no_adapter_can_hold(project, tmp_path, model, technique, message):
    with pytest.raises(UserError, match=message):
        export(project, recipe(project, model, technique).digest, tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_runs_that_are_not_there(project, tmp_path):
    known = sorted(r.digest for r in project.recipes)
    near = known[0][:-1] + "x"
    with pytest.raises(UserError, match=f"begins with '{near}'; the nearest is {known[0]} .*seed-"):
        export(project, near, tmp_path / "a")
    with pytest.raises(UserError, match=f"'' begins the digests of {len(known)} runs .*more of it"):
        export(project, "", tmp_path / "a")
    with pytest.raises(UserError, match=r"seed-1/\w+: missing; run 'snakemake --config st"):
        export(project, recipe(project, "tiny", "b_v", seed=1).digest, tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_a_target_that_is_taken(project, tmp_path):
    made = recipe(project, "dec", "b_v")
    full, file, empty = tmp_path / "full", tmp_path / "file", tmp_path / "empty"
    full.mkdir()
    (full / "mine.txt").write_text("mine")
    file.write_text("mine")
    for target in (full, file):
        with pytest.raises(UserError, match=f"{target}: is there already; name a folder"):
            export(project, made.digest, target)
    assert [p.name for p in full.iterdir()] == ["mine.txt"]
    empty.mkdir()
    export(project, made.digest, empty)
    assert (empty / "adapter_model.safetensors").is_file()


def test_other_weights_than_the_run_was_trained_on(project, tmp_path):
    made = recipe(project, "dec", "b_v")
    marker = project.layout.model(made)
    kept = marker.read_bytes()
    told = json.loads(kept)
    told["sha256"]["model.safetensors"] = "0" * 64
    try:
        marker.write_text(json.dumps(told))
        with pytest.raises(UserError, match="lists other weights than its name says; run"):
            export(project, made.digest, tmp_path / "a")
    finally:
        marker.write_bytes(kept)
