"""Merge the biases of several runs of one model into one, and export it for each of their tasks."""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import torch

from beft.adapters.angles import between
from beft.adapters.export import adapter_files, check_run, check_target, find_run, load_model
from beft.adapters.host import Host, Tensors, Values, values_of
from beft.engine.parts import trained_terms
from beft.errors import UserError
from beft.models.decoder import Decoder
from beft.store.files import to_json, write_folder
from beft.store.run_folder import open_run
from beft.store.run_format import Epoch
from beft.study.layout import Layout
from beft.study.project import Project
from beft.study.recipe import Recipe
from beft.training.inputs import current_inputs
from beft.training.shared import Loader


def weighted_mean(biases: Sequence[Tensors], weights: Sequence[float]) -> dict[str, torch.Tensor]:
    """The weighted arithmetic mean of each term's biases, (layers, width) float32.

    Args:
        biases: term -> (layers, width), of each run.
        weights: of each run; they add up to 1.
    """
    return {
        term: sum(w * b[term].double() for w, b in zip(weights, biases, strict=True)).float()
        for term in biases[0]
    }


def merge(
    project: Project,
    digests: Sequence[str],
    target: Path,
    weights: Sequence[float] | None = None,
    epoch: Epoch = "best",
    device: str = "cpu",
) -> dict[str, Any]:
    """Writes the mean of several runs' biases as a BEFT adapter for each of the runs.

    Each adapter, in a folder named by the run's task, has the merged biases and the run's own
    head. `merge.json` says what was merged with which weights, how far apart the biases were, and
    what the merged ones score.

    Args:
        digests: of two or more runs of the project's study, or how they begin.
        target: the folder to write, absent or empty; written whole or not at all.
        weights: positive, one for each run; divided by their sum. None: all equal.

    Returns:
        What stands in merge.json: `runs` with their `folder` and `weight`, `pairs`, see `between`,
        and for every run and validation split in `scores` the metric of its `own` and of the
        `merged` biases.

    Raises:
        UserError: runs that cannot be exported or do not fit together, wrong weights, a target
            that is taken.
    """
    recipes = [find_run(project, digest) for digest in digests]
    shares = _shares(recipes, weights)
    check_target(target)
    runs = [open_run(project.layout, recipe) for recipe in recipes]
    for run in runs:
        check_run(project, run)
    _check_alike(recipes)
    layout = project.layout
    values = [values_of(run, epoch) for run in runs]
    merged = weighted_mean([v.biases for v in values], shares)
    names, files = _names(recipes), {}
    for name, recipe, own in zip(names, recipes, values, strict=True):
        model = load_model(project, recipe)
        made = adapter_files(project, recipe, model, own, merged)
        files |= {f"{name}/{file}": content for file, content in made.items()}
    terms = trained_terms(model, recipes[0])
    scores = _scores(layout, recipes, values, merged, device)
    biases = {r.digest: (v.pre, v.biases) for r, v in zip(recipes, values, strict=True)}
    told = {
        "epoch": epoch,
        "terms": list(terms),
        "runs": [
            {"digest": recipe.digest, "folder": name, "weight": share}
            for recipe, name, share in zip(recipes, names, shares, strict=True)
        ],
        "pairs": [
            {"runs": [one, other], **between(biases[one], biases[other], terms)}
            for one, other in combinations(biases, 2)
        ],
        "scores": scores,
    }
    write_folder(target, files | {"merge.json": to_json(told)})
    return told


def _shares(recipes: Sequence[Recipe], weights: Sequence[float] | None) -> list[float]:
    """Weights that add up to 1."""
    if len(recipes) < 2:
        raise UserError("one run has nothing to be merged with; give two digests or more")
    given = [1.0] * len(recipes) if weights is None else list(weights)
    if len(given) != len(recipes):
        raise UserError(f"--weights: {len(given)} for {len(recipes)} runs; give one for each run")
    for weight in given:
        if not (math.isfinite(weight) and weight > 0):
            raise UserError(f"--weights: {weight} is not positive; leave out what has no weight")
    return [weight / sum(given) for weight in given]


def _check_alike(recipes: Sequence[Recipe]) -> None:
    """Runs of one model that tuned the same terms, each of them once."""
    first = recipes[0]
    for place, recipe in enumerate(recipes[1:], start=1):
        if recipe.digest in {r.digest for r in recipes[:place]}:
            raise UserError(f"run {recipe.digest} is named twice; raise its weight instead")
        if recipe.model != first.model:
            raise UserError(
                f"run {recipe.digest} tuned model '{recipe.model['alias']}' and {first.digest} "
                f"'{first.model['alias']}': only biases of the same weights can be merged"
            )
        if recipe.technique != first.technique:
            raise UserError(
                f"run {recipe.digest} is of {recipe.technique} and {first.digest} of "
                f"{first.technique}: they tuned other terms; merge runs of one technique"
            )


def _names(recipes: Sequence[Recipe]) -> list[str]:
    """A folder for each run: its task; with the seed, or its digest, where that is not enough."""
    tasks = [r.task["name"] for r in recipes]
    seeds = [f"{r.task['name']}-seed-{r.seed}" for r in recipes]
    whole = [f"{r.task['name']}-{r.digest}" for r in recipes]
    return next(names for names in (tasks, seeds, whole) if len(set(names)) == len(recipes))


def _scores(
    layout: Layout,
    recipes: Sequence[Recipe],
    values: Sequence[Values],
    merged: Mapping[str, torch.Tensor],
    device: str,
) -> list[dict[str, Any]]:
    rows = []
    decoders: dict[object, Decoder] = {}
    for recipe, own in zip(recipes, values, strict=True):
        current_inputs(layout, recipe)
        # Decoders have no head, so one model serves all tasks.
        host = Host(Loader(layout, device, decoders), recipe)
        host.check(recipe, own)
        found = host.metrics(recipe, host.predictions(recipe, merged, own.head))
        for split, score in found.items():
            place = {"task": recipe.task["name"], "seed": recipe.seed, "split": split}
            number = {"own": own.metrics[split], "merged": score if math.isfinite(score) else None}
            rows.append(
                {"digest": recipe.digest, **place, "metric": recipe.task["metric"]} | number
            )
    return rows
