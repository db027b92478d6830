"""Runs of decoders from params.yaml to run folders: settings, every technique, resuming."""

import copy
import json
import os
import signal
from pathlib import Path

import pytest
from safetensors.numpy import load_file
from support import sandbox, tiny

from beft.cli.data import fetch, subsample
from beft.errors import UserError
from beft.store.files import read_json
from beft.store.run_folder import open_run
from beft.study import params as P
from beft.study import studies
from beft.study.grid import grid
from beft.study.project import load
from beft.study.recipe import Recipe
from beft.tasks.metrics import sums
from beft.training import pack as runner
from beft.training.state import Interrupted

PARAMS = copy.deepcopy(sandbox.PARAMS) | {
    "decoder": {
        "objective": "cross_entropy_over_candidates",
        "max_length": 64,
        "evaluated": 9,
        "max_new_tokens": 4,
    },
    "techniques": {
        "full": {"learning_rate": 1e-3},
        "lora": {"lora_rank": 8, "lora_alpha": 16},
        "prefix": {"prefix_tokens": 5},
        "icl": {"demonstrations": 3},
    },
}
PARAMS["models"] |= {
    "dec": {"path": "models/dec", "kind": "decoder"},
    "free": {"path": "models/free", "kind": "decoder"},
}
PARAMS["tasks"] |= {
    "mine": {
        "path": "mine",
        "text": ["sentence"],
        "labels": ["bad", "good"],
        "metric": "accuracy",
        "prompt": {
            "template": "{sentence} It was",
            "passage": "sentence",
            "answers": ["bad", "good"],
        },
        "learning_rate": 5e-4,
        "epochs": 7,
        "decoder": {"learning_rate": 1e-2, "epochs": 2, "regimes": {"low": 8}},
    },
    "squad": {
        "path": "asked",
        "learning_rate": 1e-2,
        "epochs": 1,
        "decoder": {
            "regimes": {"low": 4},
            "learning_rate": 1e-2,
            "epochs": 1,
            "objective": "language_model_on_answer",
        },
    },
}
TECHNIQUES = ["zero_shot", "icl", "b_v", "b_k", "all_biases", "full", "lora", "prefix"]
STUDY = {
    "models": ["dec"],
    "tasks": ["mine"],
    "regimes": ["low"],
    "techniques": TECHNIQUES,
    "seeds": [0],
    "selectors": ["fisher"],
    "fuse_techniques": True,
}


def make(folder: Path, **study: object) -> Path:
    sandbox.make(folder, PARAMS, STUDY | study)
    tiny.decoder_checkpoint("opt", folder / "models" / "dec")
    tiny.decoder_checkpoint("llama", folder / "models" / "free")
    rows = [("the film was good", "good"), ("a bad dull plot", "bad"), ("this is great", "good")]
    questions = [("the dog is in a film .", "is it good ?", ["a film", "film"])]
    for split in ("train", "validation"):
        (folder / "mine").mkdir(exist_ok=True)
        lines = [{"sentence": f"{s} {i}", "label": label} for i in range(4) for s, label in rows]
        write(folder / "mine" / f"{split}.jsonl", lines)
        (folder / "asked").mkdir(exist_ok=True)
        lines = [
            {"context": f"{c} {i}", "question": q, "answers": {"text": a, "answer_start": [0, 0]}}
            for i in range(4)
            for c, q, a in questions
        ]
        write(folder / "asked" / f"{split}.jsonl", lines)
    return folder


def write(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def prepare(folder: Path) -> Path:
    fetch(params=folder / "params.yaml")
    for subset in load(folder / "params.yaml").subsets:
        subsample(folder / "data" / "subsets" / subset, params=folder / "params.yaml")
    return folder


def run(folder: Path, stop_at: int | None = None) -> dict[tuple[str, str], Path]:
    """Runs every pack; (model, technique) -> run folder."""
    seen = []

    def progress(done: int, total: int, text: str) -> None:
        seen.append(done)
        if len(seen) == stop_at:
            os.kill(os.getpid(), signal.SIGTERM)

    project = load(folder / "params.yaml")
    for key, pack in project.packs.items():
        manifest = folder / "data" / "packs" / key
        runner.run_pack(project.layout, pack, manifest, progress=progress)
    assert all(open_run(project.layout, r).flaw is None for r in project.recipes)
    return {(r.model["alias"], r.technique): project.layout.run(r) for r in project.recipes}


@pytest.mark.parametrize("model", ["dec", "free"])
def test_every_technique_runs_and_says_what_it_trained(tmp_path, model):
    runs = run(prepare(make(tmp_path, models=[model])))
    told = {t: read_json(folder / "metrics.json") for (_, t), folder in runs.items()}
    width = {"dec": {"q": 16, "k": 16, "v": 16}, "free": {"q": 16, "k": 8, "v": 8}}[model]
    layers = tiny.LAYERS
    matrices = 8 * (16 + width["q"]) + 8 * (16 + width["v"])
    for technique, count in {
        "zero_shot": 0,
        "icl": 0,
        "untuned": 0,
        "b_v": layers * width["v"],
        "b_k": layers * width["k"],
        "lora": layers * matrices,
        "prefix": layers * 5 * (width["k"] + width["v"]),
    }.items():
        assert told[technique]["trainable_params"] == count, technique
    assert told["full"]["trainable_params"] == told["full"]["encoder_params"]
    if model == "free":
        assert told["all_biases"]["trainable_params"] == layers * sum(width.values())
        assert told["b_v"]["added_biases"] == layers * sum(width.values())
    else:
        assert "added_biases" not in told["b_v"]
    answers = {t: load_file(f / "predictions.safetensors") for (_, t), f in runs.items()}
    assert {len(a["last/validation"]) for a in answers.values()} == {9}
    history = (runs[model, "b_v"] / "history.csv").read_text().splitlines()
    assert history[0] == "epoch,train_loss,validation/accuracy" and len(history) == 3
    same = answers["zero_shot"]["last/validation"]
    assert (answers["untuned"]["last/validation"] == same).all()
    if model == "dec":  # softmax ignores what a key bias adds
        assert (answers["b_k"]["last/validation"] == same).all()
    assert (runs[model, "untuned"] / "gradients.safetensors").is_file()
    assert not (runs[model, "zero_shot"] / "gradients.safetensors").exists()
    noted = {t: read_json(folder / "provenance.json") for (_, t), folder in runs.items()}
    shown = {"validation": {"mean": 3.0, "least": 3, "without": 0}}
    assert noted["icl"]["demonstrations"] == shown
    assert "demonstrations" not in noted["zero_shot"] and "demonstrations" not in noted["b_v"]


def test_a_run_says_that_it_showed_no_demonstration(tmp_path, caplog):
    """Where none fits, in-context learning answers as zero-shot does, and says so."""
    study = {"models": ["dec"], "techniques": ["zero_shot", "icl"], "selectors": []}
    runs = run(prepare(make(tmp_path, **study, training={"max_length": 14})))
    noted = read_json(runs["dec", "icl"] / "provenance.json")["demonstrations"]
    assert noted == {"validation": {"mean": 0.0, "least": 0, "without": 9}}
    first, second = [load_file(f / "predictions.safetensors") for f in runs.values()]
    assert (first["last/validation"] == second["last/validation"]).all()
    said = "mine/validation: no demonstration fits before 9 of 9 prompts"
    assert f"icl, {said}, which are answered without; max_length is 14" in caplog.text


def test_a_stopped_pack_ends_with_the_bytes_of_an_undisturbed_one(tmp_path, caplog):
    caplog.set_level("INFO")
    names = ("metrics.json", "history.csv", "biases.safetensors", "predictions.safetensors")
    names += ("examples.safetensors",)
    study = {"techniques": ["b_v", "b_q", "lora"], "selectors": []}
    whole = run(prepare(make(tmp_path / "whole", **study)))
    folder = prepare(make(tmp_path / "stopped", **study))
    with pytest.raises(Interrupted):
        run(folder, stop_at=2)
    found = run(folder)
    assert "resumed after" in caplog.text
    for key, place in found.items():
        for name in names:
            assert (place / name).read_bytes() == (whole[key] / name).read_bytes(), (key, name)


def test_answers_are_generated_and_scored(tmp_path):
    runs = run(prepare(make(tmp_path, tasks=["squad"], techniques=["b_v"], selectors=[])))
    told = read_json(runs["dec", "b_v"] / "metrics.json")
    assert told["metric"] == "answer_f1"
    assert set(told["other_metrics"]["validation"]) == {"exact_match"}
    tokens = load_file(runs["dec", "b_v"] / "predictions.safetensors")["last/validation"]
    assert tokens.shape == (4, 4)


@pytest.mark.parametrize(
    ("task", "metric", "n"), [("squad", "answer_f1", 4), ("mine", "accuracy", 9)]
)
def test_examples_add_up_to_the_metric(tmp_path, task, metric, n):
    runs = run(prepare(make(tmp_path, tasks=[task], techniques=["b_v", "zero_shot"], selectors=[])))
    for technique in ("b_v", "zero_shot"):
        folder = runs["dec", technique]
        columns = load_file(folder / "examples.safetensors")
        assert set(columns) == {"best/validation", "last/validation"}
        for epoch, expected in read_json(folder / "metrics.json")["splits"]["validation"].items():
            table = columns[f"{epoch}/validation"]
            assert table.shape == (n, 1)
            found = sums.value(metric, table.sum(axis=0, dtype=float), n)
            assert found == pytest.approx(expected, abs=1e-12)


def recipes(tmp_path: Path, params: dict | None = None, **study: object) -> list[Recipe]:
    if not (tmp_path / "params.yaml").exists():
        make(tmp_path)
    made = P.Params.model_validate(params or PARAMS)
    return grid(made, studies.Study.model_validate(STUDY | study), tmp_path, "s")


def test_a_recipe_holds_the_settings_that_it_reads_and_no_others(tmp_path):
    common = {
        *("learning_rate", "epochs", "batch_size", "max_length", "weight_decay", "max_grad_norm"),
        *("dropout", "precision"),
    }
    asked = common | {"evaluated", "scoring"}
    expected = {
        "zero_shot": asked,
        "icl": asked | {"demonstrations", "packing"},
        "b_v": asked | {"objective"},
        "lora": asked | {"objective", "lora_rank", "lora_alpha"},
        "prefix": asked | {"objective", "prefix_tokens"},
    }
    for recipe in recipes(tmp_path):
        if recipe.technique in expected:
            assert set(recipe.training) == expected[recipe.technique]
        assert recipe.training["learning_rate"] in (0.0, 1e-2, 1e-3)  # never the encoders' 5e-4
        assert recipe.task["wording"]["answers"] == [" bad", " good"]
    (own,) = recipes(tmp_path, tasks=["squad"], techniques=["b_v"], selectors=[])
    assert set(own.training) == common | {"evaluated", "max_new_tokens", "objective"}


def test_other_words_are_another_recipe(tmp_path):
    (first,) = recipes(tmp_path, techniques=["b_v"], selectors=[])
    params = copy.deepcopy(PARAMS)
    params["tasks"]["mine"]["prompt"]["template"] = "{sentence} All in all it was"
    (second,) = recipes(tmp_path, params, techniques=["b_v"], selectors=[])
    assert first.digest != second.digest and first.source == second.source


def test_a_study_joins_selections_and_runs_nothing_twice(tmp_path):
    found = recipes(
        tmp_path,
        techniques=["b_v"],
        selectors=[],
        also=[
            {"models": ["tiny"], "techniques": ["head_only"], "tasks": ["demo_sentiment"]},
            {"techniques": ["b_v", "icl"]},
            {"seeds": [0, 1]},
        ],
    )
    assert [(r.model["alias"], r.task["name"], r.technique, r.seed) for r in found] == [
        ("dec", "mine", "b_v", 0),
        ("tiny", "demo_sentiment", "head_only", 0),
        ("dec", "mine", "icl", 0),
        ("dec", "mine", "b_v", 1),
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"models": ["tiny"]}, r"techniques: 'zero_shot' is not for encoders.*'also:'"),
        ({"techniques": ["head_only"]}, r"'head_only' is not for decoders, and models.dec"),
        ({"tasks": ["demo_similarity"]}, r"tasks.demo_similarity has no prompt, and models.dec"),
        ({"models": ["tiny"], "tasks": ["squad"], "techniques": ["b_v"]}, r"tasks.squad .*encoder"),
        ({"techniques": ["lora_k"]}, r"no lora_alpha for lora_k; set it there"),
    ],
)
def test_what_does_not_fit_together_is_said(tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        recipes(tmp_path, **change)


def test_a_prompt_longer_than_the_model_allows(tmp_path):
    params = copy.deepcopy(PARAMS)
    params["decoder"]["max_length"] = 9000
    folder = make(tmp_path)
    sandbox.write(folder / "params.yaml", params)
    with pytest.raises(UserError, match=r"'dec': max_length 9000 exceeds its \d+ tokens"):
        run(prepare(folder))
