"""The project that `tune` works in: one of its own, in a work folder, or the user's.

Each fold is a task, whose validation split is what the fold holds out; the task `final` trains on
the whole pool and validates on the test rows. So runs have the identity, checks and resuming of any
run, and `snakemake` or `beft verify` can be pointed at the folder.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa

from beft.data.mirror.fetch import ensure_model, mark_model
from beft.data.sources import fetch_task
from beft.data.subsets import write_subset
from beft.data.tables import parquet_bytes
from beft.store.files import write_file
from beft.study.project import Project, load
from beft.study.recipe import Recipe, compares_pairs
from beft.tuning.candidates import Candidate
from beft.tuning.examples import Cut, Examples, Meaning
from beft.tuning.subject import LABEL, Stage, Subject, text_columns


def write_rows(subject: Subject, examples: Examples, cut: Cut) -> None:
    """Writes the parts of every fold, and the pool with the test rows."""
    for fold, task in enumerate(subject.tasks):
        held = cut.folds == fold
        rows = cut.test if task == subject.final else cut.pool[held]
        for split, index in zip(("train", "validation"), (cut.pool[~held], rows), strict=True):
            table = _table(examples.take(index), subject.meaning)
            path = subject.place.rows(task) / f"{split}.parquet"
            write_if_new(path, parquet_bytes(table))


def _table(part: Examples, meaning: Meaning) -> pa.Table:
    columns: dict[str, Any] = {
        name: [texts[i] for texts in part.texts]
        for i, name in enumerate(text_columns(len(meaning.texts)))
    }
    if part.classes:
        columns[LABEL] = [part.classes[i] for i in part.labels]
    else:
        columns[LABEL] = (part.labels - meaning.mean) / meaning.deviation
    return pa.table(columns)


def write_if_new(path: Path, content: bytes) -> None:
    """Writes a file, unless it is there with this content."""
    if not (path.is_file() and path.read_bytes() == content):
        write_file(path, content)


def write_step(subject: Subject, name: str, stages: Iterable[Stage]) -> Path:
    """Writes the study of a step and returns its path."""
    path = subject.place.step(name)
    write_if_new(path, subject.study(stages))
    return path


def prepare(params: Path, study: Path) -> Project:
    """Loads a study of a project, and makes what its runs read: datasets, subsets, the model."""
    from beft.engine.usable import check_usable

    project = load(params, str(study))
    kinds = {project.params.models[alias].kind for alias in project.models().values()}
    for task in dict.fromkeys(project.sources().values()):
        fetch_task(project.root, task, project.params.tasks[task], kinds=kinds)
    for marker, alias in project.models().items():
        path, model = project.layout.folder("models") / marker, project.params.models[alias]
        if not path.is_file():
            folder = ensure_model(project.root, alias, model)
            mark_model(project.root, folder, alias, model, path, check_usable)
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
    """Whether a run has no weights, and no pooling and no loss, but those that are wanted."""
    if ("class_weights" in recipe.training) != ("class_weights" in wanted):
        return False
    pooling, pairs = wanted.get("pooling", "first"), "objective" in wanted
    plain = recipe.pooling == pooling and compares_pairs(recipe.training) == pairs
    return plain or not candidate.trains
