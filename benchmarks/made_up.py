"""A finished project whose numbers are made up: as many sound run folders as a study has runs.

Everything is as commands and jobs leave it (recipes, checksums, manifests, subsets, scores), only
nothing was trained: snapshots are a few numbers wide and curves are random.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from safetensors.numpy import save

from beft import code_identity
from beft.data.mirror.fetch import fetch_model, mark_model
from beft.data.sources import fetch_task
from beft.data.subsets import write_subset
from beft.models.terms import TERMS
from beft.selectors.score_files import write_cell
from beft.store.files import CHECKSUMS, read_json, to_json, write_file, write_folder
from beft.store.inputs import split_checksums
from beft.study.identity import sha256
from beft.study.project import Project, load
from beft.study.recipe import RECIPE_VERSION, Recipe
from benchmarks.material import ROOT

WORKFLOW = ("Snakefile", "workflow", "profiles", "params.yaml", "studies", "beft")
EPOCHS, ROWS = 30, 32
TECHNIQUES = [f"b_{term}" for term in ("v", "q", "k", "attention_output", "intermediate", "output")]
TECHNIQUES += ["all_biases", "full", "random_uniform"]  # and `untuned`, for the selectors
LAYERS, WIDTH = 12, 4
DIVERGED = 100  # one run in so many


@dataclass(frozen=True)
class Grid:
    """How many models, tasks and seeds; number of runs -> the regimes of a study that has them."""

    models: int
    tasks: int
    seeds: int
    regimes: dict[int, list[str]]


ALL = ["low", "medium", "high", "all"]
WHOLE = Grid(5, 10, 5, {2500: ALL[:1], 5000: ALL[:2], 10000: ALL})
SMOKE = Grid(1, 1, 1, {10: ALL[:1]})


def copy(folder: Path) -> Path:
    """This repository's workflow, definitions, studies and library in a folder."""
    folder.mkdir(parents=True)
    ignored = shutil.ignore_patterns("__pycache__")
    for name in WORKFLOW:
        source, target = ROOT / name, folder / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=ignored)
        else:
            shutil.copyfile(source, target)
    return folder


def project(folder: Path, grid: Grid) -> Path:
    """A project with a study `runs_N` for each number of runs, all of them finished."""
    copy(folder)
    code = code_identity.code_digest(folder / "beft")  # declared, so that `beft verify` goes on
    ledger = {str(RECIPE_VERSION): [code]}
    write_file(folder / "beft" / "store" / "accepted_code.json", to_json(ledger))
    _settings(folder, grid)
    cache = {"XDG_CACHE_HOME": str(folder / "cache"), "HF_HUB_OFFLINE": "1", "BEFT_MIRROR": ""}
    # A made-up project need not survive a power loss.
    with mock.patch("os.fsync"), mock.patch.dict(os.environ, cache):
        _finish(load(folder / "params.yaml"), code)
    return folder


def _settings(folder: Path, grid: Grid) -> None:
    names = [f"model-{i}" for i in range(grid.models)]
    task = {"text": ["sentence"], "labels": ["negative", "positive"], "metric": "accuracy"}
    task |= {"regimes": {"low": 8, "medium": 16, "high": 24}, "revision": "r1"}
    task |= {"learning_rate": 1e-3, "epochs": EPOCHS}
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params |= {
        "study": f"runs_{max(grid.regimes)}",
        "models": {name: {"hub": f"own/{name}", "revision": "r1"} for name in names},
        "tasks": {f"task-{i}": {"hub": f"own/task-{i}", **task} for i in range(grid.tasks)},
    }
    study = {"models": names, "tasks": list(params["tasks"]), "techniques": TECHNIQUES}
    study |= {"seeds": list(range(grid.seeds))}
    write_file(folder / "params.yaml", _yaml(params))
    for runs, regimes in grid.regimes.items():
        write_file(folder / "studies" / f"runs_{runs}.yaml", _yaml({**study, "regimes": regimes}))
    mirror = folder / "data" / "mirror"
    table = pa.table({"sentence": [f"a film {i}" for i in range(ROWS)], "label": [0, 1] * 16})
    for name in params["tasks"]:
        for split in ("train", "validation"):
            path = mirror / "datasets" / "own" / name / f"{split}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(table, path)
    weights = save({"weights": np.zeros(1, np.float32)})
    files = {"config.json": to_json({"model_type": "bert"}), "vocab.txt": b"a\n"}
    for name in names:
        for file, content in (files | {"model.safetensors": weights}).items():
            write_file(mirror / "models" / "own" / name / file, content)


def _yaml(data: dict) -> bytes:
    return yaml.safe_dump(data, sort_keys=False).encode()


def _finish(made: Project, code: str) -> None:
    """Sources, models, subsets, runs, manifests and scores, in the order of the workflow."""
    for name, task in made.params.tasks.items():
        fetch_task(made.root, name, task)
    for marker, alias in made.models().items():
        path = made.layout.folder("models") / marker
        model = made.params.models[alias]
        folder = fetch_model(made.root, alias, model)
        mark_model(made.root, folder, alias, model, path, lambda *_: None)  # no model to load
    for path, recipe in made.subsets.items():
        write_subset(made.layout.source(recipe), recipe, made.layout.folder("subsets") / path)
    rng = np.random.default_rng(0)
    for path, pack in made.packs.items():
        inputs = {
            "source": split_checksums(made.layout.source(pack.recipes[0])),
            "model": read_json(made.layout.model(pack.recipes[0]))["sha256"],
        }
        provenance = _provenance(made.root, code, path, inputs)
        entries = [_run(made, recipe, provenance, rng) for recipe in pack.recipes]
        manifest = to_json({"runs": entries, "skip_inert": pack.skip_inert})
        write_file(made.layout.pack(path), manifest)
    for cell in made.cells.values():
        write_cell(made.layout, cell)


def _run(made: Project, recipe: Recipe, provenance: dict, rng: np.random.Generator) -> dict:
    """Writes one run's folder; its entry in the manifest."""
    epochs = recipe.training["epochs"]
    diverged = bool(epochs) and rng.integers(DIVERGED) == 0
    shown = int(rng.integers(1, epochs)) if diverged else max(epochs, 1)
    right = rng.integers(ROWS // 2, ROWS, shown)  # right answers after each epoch
    values = (right / ROWS).tolist()
    reason = f"loss is not finite at step {shown}" if diverged else ""
    number = {"best": None, "last": None}
    if not diverged:
        number = {"best": max(values), "last": values[-1]}
    best = 1 if diverged else int(np.argmax(values)) + bool(epochs)
    metrics = {
        **{"status": "diverged" if diverged else "ok", "reason": reason, "metric": "accuracy"},
        **{"splits": {"validation": number}, "best_epoch": best, "epochs": shown},
        **{"train_examples": _size(recipe), "trainable_params": 48, "trainable_percent": 0.01},
        "encoder_params": 480000,
    }
    lines = [f"{i},{rng.random()},{v}" for i, v in enumerate(values, start=bool(epochs))]
    files = {
        "recipe.json": to_json(recipe.to_dict()),
        "metrics.json": to_json(metrics),
        "history.csv": "\n".join(["epoch,train_loss,validation/accuracy", *lines, ""]).encode(),
        "provenance.json": to_json(provenance),
        **_tensors(recipe.technique, rng, {"best": max(right), "last": right[-1]}),
    }
    folder = made.layout.run(recipe)
    write_folder(folder, files)
    return {
        **{"digest": recipe.digest, "folder": recipe.folder(), "status": metrics["status"]},
        **{"reason": reason, "checksums": sha256(folder / CHECKSUMS)},
    }


def _size(recipe: Recipe) -> int:
    """How many examples a run trains on."""
    size = recipe.subset["size"]
    return ROWS if size == "all" else int(size)


def _tensors(technique: str, rng: np.random.Generator, right: dict[str, int]) -> dict[str, bytes]:
    """Snapshots, head and predictions; of an untuned run the gradients, too.

    Args:
        right: how many of the predictions at the best and at the last epoch are right.
    """
    labels = np.arange(ROWS) % 2
    answers = {
        f"{epoch}/validation": np.where(np.arange(ROWS) < count, labels, 1 - labels)
        for epoch, count in right.items()
    }

    def arrays(*groups: str) -> bytes:
        shape = (LAYERS, WIDTH)
        return save({f"{g}/{t}": rng.random(shape, np.float32) for g in groups for t in TERMS})

    few = {f"{epoch}/x": rng.random((2, WIDTH), np.float32) for epoch in ("best", "last")}
    files = {"biases": arrays("pre", "post"), "head": save(few), "predictions": save(answers)}
    if technique == "untuned":
        files["gradients"] = arrays("mean_square", "batch_square", "mean_abs")
    return {f"{name}.safetensors": content for name, content in files.items()}


def _provenance(root: Path, code: str, pack: str, inputs: dict) -> dict:
    names = ("beft", "python", "torch", "transformers")
    return {
        **{"commit": "0" * 40, "dirty": False, "code": code, "device": "cpu", "host": "made-up"},
        **{"command": f"beft train data/packs/{pack}", "hardware": "none", "threads": 1},
        **{"started": "2026-01-01T00:00:00+00:00", "seconds": 60.0, "peak_memory_mb": 900.0},
        **{"inputs": inputs, "precision": "float32", "versions": dict.fromkeys(names, "1")},
    }
