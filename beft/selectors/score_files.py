"""Compute scores from cached snapshots and gradients: of each selector, term, layer and epoch."""

import math
from collections.abc import Callable, Collection, Iterable, Iterator

import numpy as np

from beft.models.terms import PROJECTIONS
from beft.selectors import formulas as S
from beft.selectors.inert import inert_terms, largest, sizes
from beft.store.csv_text import to_csv, to_csv_of_lines
from beft.store.files import write_file
from beft.store.run_folder import Run, open_run
from beft.store.run_format import Statistic
from beft.study.cell import Cell
from beft.study.layout import Layout
from beft.study.recipe import Recipe

KEYS = ("model", "task", "regime", "seed")
COLUMNS = (*KEYS, "selector", "term", "layer", "score", "rank", "inert")
TRAJECTORY = ("digest", "selector", "epoch", *PROJECTIONS)
GRADIENT = (*KEYS, "term", "mean_abs", "relative", "inert")

# Selectors of gradients, and the cached statistic that each of them is the layer mean of.
SQUARES: dict[str, Statistic] = {"fisher": "mean_square", "fisher_batch": "batch_square"}

Arrays = dict[str, np.ndarray]
Opener = Callable[[Recipe], Run]


def layer_scores(selector: str, tuned: Run | None, untuned: Run | None) -> Arrays | None:
    """Scores of all terms, term -> (layers,); None when the run that the selector needs is absent.

    Args:
        tuned: a run of `all_biases`.
        untuned: a run that measured gradients.
    """
    if selector in SQUARES:
        if untuned is None:
            return None
        squares = untuned.gradients(SQUARES[selector])
        return {term: S.fisher_of_mean_squares(g) for term, g in squares.items()}
    if tuned is None:
        return None
    pre, post, score = tuned.biases("pre"), tuned.biases("post"), S.SELECTORS[selector].score
    return {term: score(pre[term], post[term]) for term in pre}


def score_cell(opened: Opener, cell: Cell) -> list[tuple]:
    """One line per seed, selector, term and layer, and one with layer `mean`.

    Ranks count all terms of the model, 1 being the most important, ties sharing the better rank;
    an undefined score has none. Runs that are missing or diverged leave no rows.
    """
    tuned: dict[int, Run] = {}
    untuned: dict[int, Run] = {}
    for run in _counted(opened, cell.recipes):
        (tuned if run.recipe.technique == "all_biases" else untuned)[run.recipe.seed] = run
    recipes = {recipe.seed: recipe for recipe in cell.recipes}
    lines = []
    for seed in sorted({*tuned, *untuned}):
        inert = inert_terms(untuned[seed].gradients("mean_abs")) if seed in untuned else {}
        for selector in cell.selectors:
            scores = layer_scores(selector, tuned.get(seed), untuned.get(seed))
            if scores is not None:
                lines += _lines(recipes[seed], selector, scores, inert)
    return lines


def _counted(opened: Opener, recipes: Iterable[Recipe]) -> Iterator[Run]:
    """The runs that ended well."""
    runs = map(opened, recipes)
    return (run for run in runs if run.is_sound and run.metrics["status"] == "ok")


def _lines(recipe: Recipe, selector: str, scores: Arrays, inert: Collection[str]) -> list[tuple]:
    """Lines in the order of `COLUMNS`."""
    by_layer = zip(*(s.tolist() for s in scores.values()), strict=True)
    columns = {str(i): dict(zip(scores, values, strict=True)) for i, values in enumerate(by_layer)}
    columns["mean"] = {term: S.term_score(s) for term, s in scores.items()}
    keys, flat = tuple(_keys(recipe).values()), {t: str(t in inert).lower() for t in scores}
    lines = []
    for layer, values in columns.items():
        ranks = S.ranks(values)
        lines += [
            (*keys, selector, term, layer, _number(value), ranks[term] or "", flat[term])
            for term, value in values.items()
        ]
    return lines


def trajectories(opened: Opener, cell: Cell) -> list[dict]:
    """The mean over layers of the scores of q, k and v after each epoch of every `all_biases` run.

    For the selectors that need snapshots, and runs of other settings too. Fisher information is
    measured before training, so it has no trajectory.
    """
    names = [name for name in cell.selectors if S.SELECTORS[name].needs == "snapshots"]
    rows = []
    for run in _counted(opened, (r for r in cell.runs if names and r.technique == "all_biases")):
        rows += [_after(run, name, epoch) for name in names for epoch in run.snapshots()]
    return rows


def _after(run: Run, selector: str, epoch: int) -> dict:
    score, pre, post = S.SELECTORS[selector].score, run.biases("pre"), run.biases(epoch)
    values = {t: S.term_score(score(pre[t], post[t])) for t in PROJECTIONS if t in pre}
    return {
        "digest": run.recipe.digest,
        "selector": selector,
        "epoch": epoch,
        **{term: _number(value) for term, value in values.items()},
    }


def gradients(opened: Opener, cell: Cell) -> list[dict]:
    """How large each term's gradient is at the pretrained weights, and whether it is inert."""
    rows = []
    for run in _counted(opened, (r for r in cell.recipes if r.technique != "all_biases")):
        mean_abs = run.gradients("mean_abs")
        size, inert = sizes(mean_abs), inert_terms(mean_abs)
        top = largest(size)
        rows += [
            {
                **_keys(run.recipe),
                "term": term,
                "mean_abs": _number(value),
                "relative": _number(value / top if top else math.nan),
                "inert": str(term in inert).lower(),
            }
            for term, value in size.items()
        ]
    return rows


def _keys(recipe: Recipe) -> dict:
    return {
        "model": recipe.model["alias"],
        "task": recipe.task["name"],
        "regime": recipe.regime,
        "seed": recipe.seed,
    }


def _number(value: float) -> str:
    return "" if math.isnan(value) else repr(value)


def render_cell(opened: Opener, cell: Cell) -> dict[str, bytes]:
    """Path below data/scores -> content, for every file of a cell."""
    return {
        cell.scores(): to_csv_of_lines(COLUMNS, score_cell(opened, cell)),
        cell.trajectories(): to_csv(TRAJECTORY, trajectories(opened, cell)),
        cell.gradients(): to_csv(GRADIENT, gradients(opened, cell)),
    }


def write_cell(layout: Layout, cell: Cell) -> None:
    """Writes every file of a cell."""
    opened = {recipe.digest: open_run(layout, recipe) for recipe in cell.runs}
    for key, content in render_cell(lambda recipe: opened[recipe.digest], cell).items():
        write_file(layout.scores(key), content)
