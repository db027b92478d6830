"""Estimate the disk space that runs take."""

from collections.abc import Iterable
from statistics import median

from beft.operations.cost import Costs
from beft.operations.sizes import Extent, Shape
from beft.study.recipe import Recipe
from beft.techniques import TECHNIQUES

TERM_WIDTHS = 11  # numbers in all biases of a layer, in widths of the model: BERT, OPT
SMALL_FILES = 20_000  # bytes of recipe, metrics, history, provenance and head


def run_bytes(recipe: Recipe, model: Shape, task: Extent) -> float:
    """Estimates the size of a run's folder in bytes.

    A folder holds all biases before, after and after each epoch of training, the statistics of
    gradients where the technique measures them, and the predictions of two epochs.
    """
    snapshots = recipe.training["epochs"] + 2 + 3 * TECHNIQUES[recipe.technique].measures
    evaluated = recipe.training.get("evaluated", "all")
    predicted = task.validation if evaluated == "all" else min(evaluated, task.validation)
    each = 4 * max(len(recipe.task.get("labels", ())), 1)
    return (
        4 * snapshots * TERM_WIDTHS * model.layers * model.width
        + 2 * predicted * each
        + SMALL_FILES
    )


def disk_bytes(costs: Costs, runs: Iterable[Recipe]) -> float:
    """Estimates the disk space of runs in bytes, corrected by finished runs of their technique.

    A run counts as 0 if the size of its model or task is unknown.
    """

    def estimate(recipe: Recipe) -> float:
        model, task = costs.shape(recipe), costs.extent(recipe)
        return run_bytes(recipe, model, task) if model and task else 0.0

    ratios: dict[tuple[str, str], list[float]] = {}
    for done in costs.done:
        key = (done.recipe.model["alias"], done.recipe.technique)
        ratios.setdefault(key, []).append(done.size / estimate(done.recipe))
    known = {key: median(values) for key, values in ratios.items()}
    return sum(estimate(r) * known.get((r.model["alias"], r.technique), 1.0) for r in runs)
