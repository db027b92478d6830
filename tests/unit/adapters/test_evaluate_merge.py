"""Biases of two tasks on each of them: what is measured, against models built by hand."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from support import couples, sandbox
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from beft.adapters.evaluate_merge import render_merge
from beft.adapters.host import alike
from beft.adapters.merge_results import facts_of_results, merge_flaw
from beft.errors import UserError
from beft.operations.verify import _measured
from beft.report.frames import merges as frame_of
from beft.store.files import read_json, to_json
from beft.study.measurements import Merged
from beft.study.project import Project, load

WAYS = {("none", "fresh"), ("first", "own"), ("first", "first"), ("second", "own")}
WAYS |= {("second", "second"), ("mean", "own")}


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Project:
    """Every merge of the study, written."""
    project = couples.make(tmp_path_factory.mktemp("couples") / "project")
    for key, merged in project.merges.items():
        path = project.layout.data / "merges" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(render_merge(project, merged))
    return project


@pytest.fixture
def project(done, tmp_path) -> Project:
    """A copy to plant lies in."""
    folder = Path(shutil.copytree(done.root, tmp_path / "project"))
    return load(folder / "params.yaml")


def of(project: Project, model: str) -> tuple[Path, object]:
    ((key, merged),) = ((k, m) for k, m in project.merges.items() if k.startswith(f"{model}/"))
    return project.layout.data / "merges" / key, merged


def results(project: Project, model: str) -> dict[tuple, float]:
    rows = read_json(of(project, model)[0])["results"]
    assert {row["status"] for row in rows} == {"ok"}
    return {(r["seed"], r["bias"], r["head"], r["task"]): r["value"] for r in rows}


def run_of(project: Project, model: str, task: str, seed: int = 0, technique: str = "b_v") -> Path:
    return project.layout.run(couples.recipe(project, model, task, seed, technique))


def recorded(folder: Path) -> float:
    return read_json(folder / "metrics.json")["splits"]["validation"]["best"]


def test_every_way_of_every_seed_is_there(done):
    for model, kind in couples.MODELS.items():
        seeds = (0, 1) if model == "tiny" else (0,)
        ways = {w for w in WAYS if kind == "encoder" or w[0] != w[1]}
        expected = {(s, *w, t) for s in seeds for w in ways for t in couples.TASKS}
        assert set(results(done, model)) == expected


@pytest.mark.parametrize("model", couples.MODELS)
def test_own_biases_with_own_heads_score_what_their_runs_recorded(done, model):
    found = results(done, model)
    for side, task in zip(("first", "second"), couples.TASKS, strict=True):
        assert found[0, side, "own", task] == recorded(run_of(done, model, task))


def test_untuned_is_the_run_where_there_is_one_and_the_same_without(done):
    """Seed 0 has untuned runs, seed 1 has none."""
    found, (_, merged) = results(done, "tiny"), of(done, "tiny")
    bare = Merged(tuple(replace(couple, untuned=(None, None)) for couple in merged.couples))
    rows = json.loads(render_merge(done, bare))["results"]
    again = {(r["seed"], r["task"]): r["value"] for r in rows if r["bias"] == "none"}
    assert [c.untuned[0] is None for c in merged.couples] == [False, True]
    for task in couples.TASKS:
        run = recorded(run_of(done, "tiny", task, technique="untuned"))
        assert found[0, "none", "fresh", task] == again[0, task] == run
        assert found[1, "none", "fresh", task] == again[1, task]


def accuracy(project: Project, bias: list[str], head: str, task: str) -> float:
    """Of the base model with the mean of these tasks' tuned b_v and a task's head, seed 0."""
    folder = project.root / "models" / "tiny"
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2)
    runs = [run_of(project, "tiny", each) for each in bias]
    keys = [f"epoch-{read_json(run / 'metrics.json')['best_epoch']}/v" for run in runs]
    tuned = [load_file(r / "biases.safetensors")[k] for r, k in zip(runs, keys, strict=True)]
    values = {
        f"bert.encoder.layer.{layer}.attention.self.value.bias": value
        for layer, value in enumerate(torch.stack(tuned).mean(0))
    }
    own = load_file(run_of(project, "tiny", head) / "head.safetensors")
    values |= {k.removeprefix("best/"): v for k, v in own.items() if k.startswith("best/")}
    assert not model.load_state_dict(values, strict=False).unexpected_keys
    rows = (project.root / task / "validation.jsonl").read_text().splitlines()
    rows = [json.loads(row) for row in rows]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokens = tokenizer([row["sentence"] for row in rows], padding=True, return_tensors="pt")
    with torch.no_grad():
        decided = model.eval()(**tokens).logits.argmax(1).numpy()
    labels = sorted({label for _, label in couples.TEXTS[task]})
    return float(np.mean(decided == [labels.index(row["label"]) for row in rows]))


def test_each_way_is_that_bias_with_that_head(done):
    found = results(done, "tiny")
    names = dict(zip(("first", "second"), couples.TASKS, strict=True))
    for bias, head in WAYS - {("none", "fresh")}:
        tasks = list(couples.TASKS) if bias == "mean" else [names[bias]]
        for task in couples.TASKS:
            expected = accuracy(done, tasks, task if head == "own" else names[head], task)
            assert found[0, bias, head, task] == expected, (bias, head, task)
    # else it would not matter what was put where
    assert len({v for k, v in found.items() if k[0] == 0 and k[3] == "one"}) > 1


def test_the_same_file_each_time(done):
    path, merged = of(done, "dec")
    assert render_merge(done, merged) == path.read_bytes()


def test_a_run_that_diverged_is_named_where_it_is_needed(project):
    """Its task's bias and head are gone; the other task's own row, and untuned, stay."""
    folder = run_of(project, "tiny", "two", 1)
    metrics = read_json(folder / "metrics.json")
    metrics |= {"status": "diverged", "reason": "loss not finite"}
    metrics["splits"]["validation"] = {"best": None, "last": None}
    forge(folder, "metrics.json", to_json(metrics))
    path, merged = of(project, "tiny")
    path.write_bytes(render_merge(project, merged))
    assert merge_flaw(project, path, merged) is None
    rows = [r for r in read_json(path)["results"] if r["seed"] == 1]
    fine = {(r["bias"], r["head"], r["task"]) for r in rows if r["status"] == "ok"}
    assert fine == {
        ("none", "fresh", "one"), ("none", "fresh", "two"),
        ("first", "own", "one"), ("first", "first", "one"), ("first", "first", "two"),
    }  # fmt: skip
    lost = [r for r in rows if r["status"] != "ok"]
    assert {r["reason"] for r in lost} == {"loss not finite"}
    assert {r["value"] for r in lost} == {None}
    assert [a["seed"] for a in read_json(path)["angles"]] == [0]


def forge(folder: Path, name: str, content: bytes) -> None:
    """A file of a run with checksums that fit, its pack's too."""
    (folder / name).write_bytes(content)
    sandbox.reseal(folder, {})


def test_other_values_than_the_run_recorded_its_answers_with_are_refused(project):
    folder = run_of(project, "tiny", "one")
    heads = {k: -v for k, v in load_file(folder / "head.safetensors").items()}
    save_file(heads, folder / "head.safetensors")
    forge(folder, "head.safetensors", (folder / "head.safetensors").read_bytes())
    with pytest.raises(UserError, match="b_v/seed-0/.* other answers on validation than the run"):
        render_merge(project, of(project, "tiny")[1])


def test_a_run_that_is_not_there_is_one_line(project):
    shutil.rmtree(run_of(project, "tiny", "two"))
    with pytest.raises(UserError, match=r"two/low/b_v/seed-0/\w+: missing; run 'beft verify"):
        render_merge(project, of(project, "tiny")[1])


def test_alike():
    assert alike(np.array([0, 1, 1, 0]), np.array([0, 1, 0, 0])) == 0.75
    assert alike(np.array([0.5, 2.0]), np.array([0.5001, 2.5], np.float32)) == 0.5
    # tokens, -1 behind the end: the second array was padded for a longer answer
    assert alike(np.array([[4, 5], [6, -1]]), np.array([[4, 5, -1], [6, 7, 8]])) == 0.5


def edit(act) -> object:
    def plant(project: Project, path: Path) -> None:
        data = read_json(path)
        act(data)
        path.write_bytes(to_json(data))

    return plant


def own(data: dict, bias: str = "first") -> dict:
    return next(r for r in data["results"] if (r["bias"], r["head"]) == (bias, "own"))


@pytest.mark.parametrize(
    ("plant", "words"),
    [
        (lambda project, path: path.unlink(), "missing"),
        (lambda project, path: path.write_text("{"), "damaged"),
        (lambda project, path: path.write_text("[]"), "damaged"),
        (edit(lambda d: d["results"].pop()), "not of the runs"),
        (edit(lambda d: d["results"][0].update(seed=9)), "not of the runs"),
        (edit(lambda d: d.update(version=99)), "not of the runs"),
        (edit(lambda d: own(d).update(value=0.123)), "metric of first/own on one, validation"),
        (edit(lambda d: own(d, "mean").update(value=1.5)), "metric of mean/own"),
        (edit(lambda d: own(d).update(status="diverged")), "is not the run's"),
        (edit(lambda d: d["angles"][0]["tuned"].update(cosine=0.18)), "angles are not"),
        (edit(lambda d: d["runs"].update({k: "0" for k in d["runs"]})), "other runs than are here"),
        (edit(lambda d: d["results"][0].pop("value")), "damaged"),
        (
            lambda project, path: forge(
                run_of(project, "tiny", "one"), "history.csv", b"epoch\n"
            ),
            "other runs than are here now",
        ),
    ],
)  # fmt: skip
def test_a_file_that_is_not_true_is_found_and_not_shown(project, plant, words):
    path, merged = of(project, "tiny")
    assert merge_flaw(project, path, merged) is None
    plant(project, path)
    assert words in merge_flaw(project, path, merged)
    frame = frame_of.collect(project)
    own = frame[frame["model"] == "tiny"]
    assert len(own) == len(facts_of_results(merged)) and own["value"].isna().all()
    assert set(own["status"]) == {"missing" if words == "missing" else "failed"}
    assert (frame[frame["model"] == "dec"]["status"] == "ok").all()


def test_a_file_by_unknown_code_is_found(project):
    path, _ = of(project, "tiny")
    assert not list(_measured(project, set()))
    edit(lambda data: data.update(code="0" * 16))(project, path)
    (problem,) = _measured(project, set())
    assert problem.line.startswith(f"{path}: measured by code 0000000000000000, which is not known")
    assert problem.redo == (path,)


def test_the_frame_has_a_row_for_everything(done):
    frame = frame_of.collect(done)
    assert len(frame) == sum(len(facts_of_results(m)) for m in done.merges.values())
    assert set(frame["status"]) == {"ok"}
    tiny = frame[frame["model"] == "tiny"]
    assert set(tiny["seed"]) == {0, 1} and tiny["tuned_cosine"].nunique() == 2
    told = {a["seed"]: a for a in read_json(of(done, "tiny")[0])["angles"]}
    one = tiny[tiny["seed"] == 1].iloc[0]
    assert one["shift_degrees"] == told[1]["shift"]["degrees"]
    assert pd.api.types.is_float_dtype(frame["value"])
