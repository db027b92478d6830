"""Average the biases of several runs of one model, and export the mean for each of their tasks."""

import math
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import torch

from beft.adapters.angles import between
from beft.adapters.export import adapter_files, check_run, check_target, find_run, load_model
from beft.adapters.host import Host, Values, values_of
from beft.engine.base import Tensors
from beft.engine.parts import trained_terms
from beft.errors import UserError
from beft.models.decoder import Decoder
from beft.store.files import to_json, write_folder
from beft.store.run_folder import open_run
from beft.store.run_format import Epoch
from beft.study.layout import Layout
from beft.study.project import Project
from beft.study.recipe import Recipe
from beft.tasks.words import Plain
from beft.training.inputs import current_inputs
from beft.training.shared import Loader


def weighted_mean(biases: Sequence[Tensors], weights: Sequence[float]) -> dict[str, torch.Tensor]:
    """The weighted arithmetic mean of each term's biases, (layers, width) float32.

    Args:
        biases: term -> (layers, width), of each run.
        weights: of each run; they add up to 1.
    """
    return {
        term: sum(
            (w * b[term].double() for w, b in zip(weights, biases, strict=True)),
            start=torch.zeros((), dtype=torch.float64),
        ).float()
        for term in biases[0]
    }


def merge(
    project: Project,
    digests: Sequence[str],
    target: Path,
    weights: Sequence[float] | None = None,
    epoch: Epoch = "best",
    device: str = "cpu",
) -> Plain:
    """Writes the mean of several runs' biases as a BEFT adapter for each of the runs.

    Each adapter contains the merged biases and the head of its run, in a folder that bears the
    name of the run's task. `merge.json` lists the runs with their weights, the angles between
    their biases, and the metrics of the merged biases.

    Args:
        digests: two or more digests of runs of the study, or unambiguous beginnings of digests.
        target: the folder to write; it must be absent or empty. It is written whole or not at all.
        weights: one positive number per run; they are divided by their sum. None: equal weights.

    Returns:
        The content of merge.json: `runs` with their `folder` and `weight`; `pairs`, see
        `between`; `scores`, which gives for every run and validation split the metric of the
        run's biases (`own`) and of the `merged` ones.

    Raises:
        UserError: when runs cannot be exported or differ in model or technique, when weights are
            wrong, or when the target is not empty.
    """
    recipes = [find_run(project, digest) for digest in digests]
    shares = _shares(recipes, weights)
    check_target(target)
    runs = [open_run(project.layout, recipe) for recipe in recipes]
    for run in runs:
        check_run(project, run)
    _check_alike(recipes)
    values = [values_of(run, epoch) for run in runs]
    merged = weighted_mean([v.biases for v in values], shares)
    names = _names(recipes)
    files: dict[str, bytes] = {}
    for name, recipe, own in zip(names, recipes, values, strict=True):
        model = load_model(project, recipe)
        made = adapter_files(project, recipe, model, own, merged)
        files |= {f"{name}/{file}": content for file, content in made.items()}
    terms = trained_terms(model, recipes[0])
    told = {
        "epoch": epoch,
        "terms": list(terms),
        "runs": [
            {"digest": recipe.digest, "folder": name, "weight": share}
            for recipe, name, share in zip(recipes, names, shares, strict=True)
        ],
        "pairs": _pairs(recipes, values, terms),
        "scores": _scores(project.layout, recipes, values, merged, device),
    }
    write_folder(target, files | {"merge.json": to_json(told)})
    return told


def _pairs(
    recipes: Sequence[Recipe], values: Sequence[Values], terms: Sequence[str]
) -> list[Plain]:
    """The angles between the biases of every two runs."""
    biases = {r.digest: (v.pre, v.biases) for r, v in zip(recipes, values, strict=True)}
    return [
        {"runs": [one, other], **between(biases[one], biases[other], terms)}
        for one, other in combinations(biases, 2)
    ]


def _shares(recipes: Sequence[Recipe], weights: Sequence[float] | None) -> list[float]:
    """The weights, divided by their sum."""
    if len(recipes) < 2:
        raise UserError("one run has nothing to be merged with; give two digests or more")
    given = [1.0] * len(recipes) if weights is None else list(weights)
    if len(given) != len(recipes):
        raise UserError(f"--weights: {len(given)} for {len(recipes)} runs; give one for each run")
    for weight in given:
        if not (math.isfinite(weight) and weight > 0):
            raise UserError(f"--weights: {weight} is not positive; leave out what has no weight")
    shares = [weight / sum(given) for weight in given]
    if 0.0 in shares:  # their sum is infinite, or some vanish beside others
        raise UserError("--weights: too large to be compared; give shares, such as 0.7,0.3")
    return shares


def _check_alike(recipes: Sequence[Recipe]) -> None:
    """Makes sure that the runs differ, and share one model and one technique."""
    first = recipes[0]
    for number, recipe in enumerate(recipes[1:], start=1):
        if recipe.digest in {r.digest for r in recipes[:number]}:
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
    """A folder name per run: its task, with seed or digest where tasks repeat."""
    tasks = [r.task["name"] for r in recipes]
    seeds = [f"{r.task['name']}-seed-{r.seed}" for r in recipes]
    whole = [f"{r.task['name']}-{r.digest}" for r in recipes]
    return next(names for names in (tasks, seeds, whole) if len(set(names)) == len(recipes))


def _scores(
    layout: Layout,
    recipes: Sequence[Recipe],
    values: Sequence[Values],
    merged: Tensors,
    device: str,
) -> list[Plain]:
    rows = []
    decoders: dict[object, Decoder] = {}
    for recipe, own in zip(recipes, values, strict=True):
        current_inputs(layout, recipe)
        # Decoders have no head, so one model serves all tasks.
        host = Host(Loader(layout, device, decoders), recipe)
        host.check(recipe, own)
        found = host.metrics(recipe, host.predictions(recipe, merged, own.head))
        for split, score in found.items():
            facts = {"task": recipe.task["name"], "seed": recipe.seed, "split": split}
            number = {"own": own.metrics[split], "merged": score if math.isfinite(score) else None}
            rows.append(
                {"digest": recipe.digest, **facts, "metric": recipe.task["metric"]} | number
            )
    return rows
