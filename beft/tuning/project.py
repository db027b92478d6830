"""The project that `tune` makes: an ordinary one, in a work folder of its own.

Each fold is a task, whose validation split is what the fold holds out; the task `final` trains on
the whole pool and validates on the test rows. So runs have the identity, checks and resuming of any
run, and `snakemake` or `beft verify` can be pointed at the folder.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import yaml

from beft.data.mirror.fetch import ensure_model, mark_model
from beft.data.sources import fetch_task
from beft.data.subsets import write_subset
from beft.data.tables import parquet_bytes
from beft.store.files import write_file
from beft.study.project import Project, load
from beft.study.recipe import Recipe
from beft.tuning.candidates import Candidate
from beft.tuning.examples import Cut, Examples, Meaning

BASE, FINAL = "base", "final"  # names of the model and of the last task
TEXTS, LABEL = ("text", "second"), "label"  # columns of the files that are written
BATCH = 16


@dataclass(frozen=True)
class Stage:
    """Runs of some candidates on one task."""

    task: str  # `fold-1`, ... or `final`
    seed: int
    epochs: int
    candidates: tuple[Candidate, ...]


def fold_name(fold: int) -> str:
    """The task of a fold, which is counted from 0."""
    return f"fold-{fold + 1}"


def write_rows(root: Path, examples: Examples, cut: Cut, meaning: Meaning) -> None:
    """Writes the parts of every fold, and the pool with the test rows."""
    for fold in range(int(cut.folds.max()) + 1):
        held = cut.folds == fold
        _write_task(root, fold_name(fold), examples, (cut.pool[~held], cut.pool[held]), meaning)
    _write_task(root, FINAL, examples, (cut.pool, cut.test), meaning)


def _write_task(
    root: Path, name: str, examples: Examples, parts: Sequence[np.ndarray], meaning: Meaning
) -> None:
    for split, index in zip(("train", "validation"), parts, strict=True):
        path = root / "rows" / name / f"{split}.parquet"
        content = parquet_bytes(_table(examples.take(index), meaning))
        if not (path.is_file() and path.read_bytes() == content):
            write_file(path, content)


def _table(part: Examples, meaning: Meaning) -> pa.Table:
    columns: dict[str, Any] = {
        name: [texts[i] for texts in part.texts]
        for i, name in enumerate(TEXTS[: len(meaning.texts)])
    }
    if part.classes:
        columns[LABEL] = [part.classes[i] for i in part.labels]
    else:
        columns[LABEL] = (part.labels - meaning.mean) / meaning.deviation
    return pa.table(columns)


def write_params(
    root: Path, model: Path, meaning: Meaning, metric: str, max_length: int, folds: int, study: Path
) -> None:
    """Writes params.yaml."""

    def task(name: str) -> dict[str, Any]:
        return {
            "path": f"rows/{name}",
            "text": list(TEXTS[: len(meaning.texts)]),
            "label": LABEL,
            "labels": list(meaning.classes),
            "metric": metric,
            "regimes": {},
        }

    names = [*map(fold_name, range(folds)), FINAL]
    params = {
        "study": str(study),
        "training": {
            "batch_size": BATCH,
            "max_length": max_length,
            "weight_decay": 0.0,
            "max_grad_norm": 1.0,
            "precision": "auto",
        },
        "models": {BASE: {"path": str(model)}},
        "tasks": {name: task(name) for name in names},
        "techniques": {},
    }
    _write_yaml(root / "params.yaml", params)


def write_study(root: Path, name: str, stages: Iterable[Stage]) -> Path:
    """Writes a study of these stages to studies/ and returns its path."""
    selections = [selection for stage in stages for selection in _selections(stage)]
    first, *rest = selections
    study = {
        "models": [BASE],
        "regimes": ["all"],
        **first,
        "also": rest,
        "selectors": [],
        "skip_inert": True,
        "fuse_techniques": True,
        "tables": ["table1", "comparisons"],
        "figures": ["curves"],
    }
    path = root / "studies" / f"{name}.yaml"
    _write_yaml(path, study)
    return path


def _selections(stage: Stage) -> list[dict[str, Any]]:
    """The stage as selections of a study: one for all techniques of equal settings."""

    def settings(candidate: Candidate) -> dict[str, Any]:
        given = candidate.settings(stage.epochs)
        # The test rows are read once, not after each epoch.
        return given | ({"evaluations": "last"} if given and stage.task == FINAL else {})

    ordered = sorted(stage.candidates, key=lambda c: repr(settings(c)))
    return [
        {
            "tasks": [stage.task],
            "seeds": [stage.seed],
            "techniques": [c.technique for c in same],
            "training": settings(same[0]),
        }
        for _, group in groupby(ordered, key=lambda c: repr(settings(c)))
        if (same := list(group))
    ]


def _write_yaml(path: Path, content: dict[str, Any]) -> None:
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True).encode()
    if not (path.is_file() and path.read_bytes() == text):
        write_file(path, text)


def prepare(root: Path, study: Path) -> Project:
    """Loads a study of the project, and makes what its runs read: datasets, subsets, the model."""
    from beft.engine.usable import check_usable

    project = load(root / "params.yaml", str(study))
    for task in dict.fromkeys(project.sources().values()):
        fetch_task(root, task, project.params.tasks[task], kinds=["encoder"])
    for marker, alias in project.models().items():
        path, model = project.layout.folder("models") / marker, project.params.models[alias]
        if not path.is_file():
            folder = ensure_model(root, alias, model)
            mark_model(root, folder, alias, model, path, check_usable)
    for key, recipe in project.subsets.items():
        path = project.layout.folder("subsets") / key
        if not path.is_file():
            write_subset(project.layout.source(recipe), recipe, path)
    return project


def recipe_of(project: Project, stage: Stage, candidate: Candidate) -> Recipe:
    """The run of a candidate of a stage."""
    wanted = candidate.settings(stage.epochs)
    (found,) = [
        recipe
        for recipe in project.recipes
        if recipe.task["name"] == stage.task
        and recipe.technique == candidate.technique
        and recipe.seed == stage.seed
        and all(recipe.training.get(key) == value for key, value in wanted.items())
        and _plain(recipe, wanted, candidate)
    ]
    return found


def _plain(recipe: Recipe, wanted: dict[str, Any], candidate: Candidate) -> bool:
    """Whether a run has none of the settings that are absent from what is wanted."""
    keys = ("class_weights", *(("pooling", "objective") if candidate.trains else ()))
    return all(key in wanted or key not in recipe.training for key in keys)
