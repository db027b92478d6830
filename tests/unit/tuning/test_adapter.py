"""The folder of a tuned run answers as the run did: by beft, by PEFT, by its example.py."""

import copy
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from support import sandbox, tiny
from support.trained import everything

from beft.errors import UserError
from beft.store.files import flaw
from beft.store.run_folder import open_run
from beft.study.params import Prompt
from beft.study.project import Project
from beft.study.recipe import Recipe, compares_pairs
from beft.tuning import load as loading
from beft.tuning.adapter import adapter_files, write
from beft.tuning.card import Card, DataFile
from beft.tuning.examples import Meaning

ENCODERS = ("tiny", "roberta", "deberta-v3", "distilbert", "modernbert")
DECODERS = ("opt", "gpt2", "llama")  # the second is fused, the third has no biases
CLASSES = ("bad | worse", "good\n`better`")
PEFT = {"adapter_config.json", "adapter_model.safetensors"}
OURS = {"beft.json", "beft.safetensors", "README.md", "example.py", "model_config.json"}


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    """Encoders whose runs are done."""
    folder = tmp_path_factory.mktemp("project")
    params = copy.deepcopy(sandbox.PARAMS)
    params["models"] |= {name: {"path": f"models/{name}"} for name in ENCODERS}
    params["models"]["roberta"] = {"hub": "own/roberta", "revision": "r1"}
    study = {
        "models": list(ENCODERS),
        "tasks": ["demo_sentiment"],
        "regimes": ["low"],
        "techniques": ["b_v"],
        "seeds": [0],
        "fuse_techniques": True,
        "also": [
            {"models": ["tiny"], "techniques": ["all_biases", "head_only"]},
            {"models": ["tiny"], "tasks": ["demo_similarity"]},
            {"training": {"pooling": "mean"}},
            {
                "models": ["tiny"],
                "techniques": ["all_biases", "linear_probe", "head_only"],
                "training": {"pooling": "mean"},
            },
            {"models": ["tiny"], "training": {"objective": "contrastive_pairs"}},
            {
                "models": ["tiny"],
                "tasks": ["demo_similarity"],
                "techniques": ["b_v", "linear_probe"],
                "training": {"pooling": "mean"},
            },
        ],
    }
    sandbox.make(folder, params, study)
    for name in ENCODERS[2:]:
        tiny.checkpoint(name, folder / "models" / name)
    tiny.checkpoint("roberta", folder / "data" / "mirror" / "models" / "own" / "roberta")
    return everything(folder)


@pytest.fixture(scope="module")
def prompts(tmp_path_factory) -> Project:
    """Decoders whose runs are done."""
    folder = tmp_path_factory.mktemp("prompts")
    params = copy.deepcopy(sandbox.PARAMS)
    params["models"] = {n: {"path": f"models/{n}", "kind": "decoder"} for n in DECODERS}
    params["decoder"] = {"objective": "cross_entropy_over_candidates", "scoring": "normalised"}
    study = sandbox.STUDY | {"models": list(DECODERS), "techniques": ["b_v"]}
    more = [{"models": ["opt"], "techniques": ["all_biases", "zero_shot"]}]
    for name in DECODERS:
        tiny.decoder_checkpoint(name, folder / "models" / name)
    sandbox.make(folder, params, study | {"also": more})
    return everything(folder)


@pytest.mark.parametrize(
    ("model", "technique", "peft"),
    [
        ("opt", "b_v", True),
        ("gpt2", "b_v", False),
        ("llama", "b_v", True),
        ("opt", "all_biases", False),
        ("opt", "zero_shot", False),
    ],
)
def test_a_run_of_a_decoder(prompts, tmp_path, model, technique, peft):
    made = recipe(prompts, model, technique, "demo_sentiment")
    prompt = Prompt(template="{ a text } It was", passage=" a text ", answers=["terrible", "great"])
    asked = Meaning((" a text ",), "label", CLASSES, prompt=prompt)
    target = prompts.root / "out" / f"{model}-{technique}"
    write(target, adapter_files(prompts, made, asked, card(prompts, made), target))
    assert flaw(target) is None
    names = {path.name for path in target.iterdir()}
    assert names >= OURS - {"model_config.json"} and (names >= PEFT) == peft
    table = pq.read_table(prompts.layout.source(made) / "validation.parquet")
    found = loading.load(target).predict(table["sentence"].to_pylist())
    recorded = open_run(prompts.layout, made).predictions("last")["validation"]
    assert found.predictions.tolist() == [CLASSES[i] for i in recorded]
    if model == "llama":  # the others were compared before they were written
        assert_example_answers_as_beft(target, tmp_path)


def recipe(project: Project, model: str, technique: str, task: str, kind: str = "first") -> Recipe:
    """A run; `kind` is what its head reads, or `pairs`."""
    (found,) = (
        r
        for r in project.recipes
        if (r.model["alias"], r.technique, r.task["name"]) == (model, technique, task)
        and ("pairs" if compares_pairs(r.training) else r.pooling) == kind
    )
    return found


def meaning(made: Recipe) -> Meaning:
    if made.task["labels"]:
        return Meaning(("text",), "label", CLASSES)
    return Meaning(("left", "right"), "score", (), 3.0, 0.5)


def card(project: Project, made: Recipe) -> Card:
    truth = pq.read_table(project.layout.source(made) / "validation.parquet")["label"].to_numpy()
    predicted = open_run(project.layout, made).predictions("last")["validation"]
    return Card(
        name="mine",
        files=(DataFile("a.csv", "ab" * 32, 216, "training and test"),),
        training_rows=16,
        counts=dict.fromkeys(CLASSES if made.task["labels"] else (), 8),
        settings={},
        candidates=((), ()),
        metric="accuracy" if made.task["labels"] else "spearman",
        value=0.5,
        low=None,
        high=None,
        guessing=None,
        truth=truth,
        predicted=predicted,
    )


def made_adapter(project: Project, made: Recipe, target: Path) -> Path:
    files = adapter_files(project, made, meaning(made), card(project, made), target)
    write(target, files)
    return target


def examples(project: Project, made: Recipe) -> list[tuple[str, ...]]:
    table = pq.read_table(project.layout.source(made) / "validation.parquet")
    return list(zip(*(table[column].to_pylist() for column in made.task["text"]), strict=True))


@pytest.mark.parametrize(
    ("model", "technique", "task", "kind", "peft"),
    [
        *((name, "b_v", "demo_sentiment", "first", True) for name in ENCODERS),
        *((name, "b_v", "demo_sentiment", "mean", True) for name in ENCODERS),
        ("tiny", "all_biases", "demo_sentiment", "first", False),
        ("tiny", "head_only", "demo_sentiment", "first", False),
        ("tiny", "b_v", "demo_similarity", "first", True),
        ("tiny", "all_biases", "demo_sentiment", "mean", False),
        ("tiny", "head_only", "demo_sentiment", "mean", False),
        ("tiny", "linear_probe", "demo_sentiment", "mean", False),
        ("tiny", "b_v", "demo_sentiment", "pairs", True),
        ("tiny", "b_v", "demo_similarity", "mean", True),
        ("tiny", "linear_probe", "demo_similarity", "mean", False),
    ],
)
def test_a_run(project, tmp_path, monkeypatch, model, technique, task, kind, peft):
    made = recipe(project, model, technique, task, kind)
    folder = made_adapter(project, made, project.root / "out" / "-".join(made.folder().split("/")))
    assert flaw(folder) is None
    names = {path.name for path in folder.iterdir()}
    assert names >= OURS and (names >= PEFT) == peft
    assert ("head.safetensors" in names) == (peft and kind != "first")
    if model == "roberta":
        monkeypatch.setenv("BEFT_MIRROR", str(project.root / "data" / "mirror"))
    adapter = loading.load(folder)
    found = adapter.predict(examples(project, made))
    recorded = open_run(project.layout, made).predictions("last")["validation"]
    if made.task["labels"]:
        assert found.predictions.tolist() == [CLASSES[i] for i in recorded]
    else:
        np.testing.assert_allclose(found.predictions, recorded * 0.5 + 3.0, atol=1e-4)
    config = json.loads((folder / "model_config.json").read_text())
    assert len(config["id2label"]) == adapter.adapted.facts.outputs
    assert json.loads((folder / "tokenizer_config.json").read_text())["model_max_length"] == 32
    assert str(project.root) not in "".join(
        (folder / name).read_text() for name in (*OURS - {"beft.safetensors"},)
    )


def test_the_example_runs_by_itself(project, tmp_path):
    """In an interpreter that has no beft, from another folder; its answers are those of beft."""
    made = recipe(project, "tiny", "b_v", "demo_sentiment")
    folder = made_adapter(project, made, project.root / "example")
    assert_example_answers_as_beft(folder, tmp_path)


def assert_example_answers_as_beft(folder: Path, elsewhere: Path) -> None:
    program = (
        "import sys, runpy; sys.modules['beft'] = None; "
        "runpy.run_path(sys.argv[1], run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder / "example.py")],
        cwd=elsewhere,
        env=sandbox.environment(HF_HUB_OFFLINE="1"),
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line.split("\t") for line in re.findall(r".*\t0\.\d+\t.*", done.stdout)]
    texts = [text for _, _, text in lines]
    assert len(texts) == 2
    found = loading.load(folder).predict(texts)
    shares = found.probabilities.max(axis=1)
    assert [float(share) for _, share, _ in lines] == pytest.approx(shares, abs=1e-3)


def test_runs_that_cannot_be_written(project, tmp_path):
    made = recipe(project, "tiny", "b_v", "demo_sentiment")
    absent = replace(made, seed=7)
    with pytest.raises(UserError, match="missing"):
        adapter_files(project, absent, meaning(made), card(project, made), tmp_path / "a")
    files = {"beft.json": b"{}"}
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="a: is there already; name a folder"):
        write(tmp_path / "a", files)


def test_an_adapter_that_answers_otherwise_is_not_written(project, tmp_path, monkeypatch):
    """Whichever of the two forms is wrong."""
    from beft.tuning import adapter

    made = recipe(project, "tiny", "b_v", "demo_sentiment")
    told = card(project, made)
    for name, words in (("peft_files", "loaded by example.py"), ("files_of", "loaded by beft")):
        real = getattr(adapter, name)

        def wrong(*given, real=real, name=name):
            if name == "files_of":
                values = {k: -v if "classifier" in k else v for k, v in given[0].values.items()}
                return real(replace(given[0], values=values))
            model, terms, pre, post, *rest = given
            return real(model, terms, pre, {t: v + 1 for t, v in post.items()}, *rest)

        with monkeypatch.context() as patch:
            patch.setattr(adapter, name, wrong)
            with pytest.raises(UserError, match=f"{words}, answers .* otherwise than the run"):
                adapter_files(project, made, meaning(made), told, tmp_path / "a")
    assert not (tmp_path / "a").exists()


@pytest.mark.mirror
@pytest.mark.parametrize("pooling", ["first", "mean"])
def test_a_real_checkpoint_that_is_stored_in_float16(mirror, tmp_path, pooling):
    folder = tmp_path / "project"
    params = copy.deepcopy(sandbox.PARAMS)
    real = mirror / "models" / "sentence-transformers" / "all-MiniLM-L6-v2"
    params["models"]["minilm"] = {"path": str(real)}
    params["tasks"]["demo_sentiment"]["epochs"] = 1
    study = sandbox.STUDY | {"models": ["minilm"], "techniques": ["b_v"]}
    sandbox.make(folder, params, study | {"training": {"pooling": pooling}})
    project = everything(folder)
    (made,) = (r for r in project.recipes if r.technique == "b_v")
    target = made_adapter(project, made, tmp_path / "out")
    assert_example_answers_as_beft(target, tmp_path)
