"""From cached snapshots and gradients to scores: of every selector, term, layer and epoch."""

import csv
import io
import math
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from beft.selectors import formulas as S
from beft.selectors.inert import inert_terms, largest, sizes
from beft.store.files import read_json, run_flaw, write_file
from beft.study.cell import Cell
from beft.study.layout import Layout
from beft.study.recipe import Recipe

PLACE = ("model", "task", "regime", "seed")
COLUMNS = (*PLACE, "selector", "term", "layer", "score", "rank", "inert")
TRAJECTORY = ("digest", "selector", "epoch", "q", "k", "v")
GRADIENT = (*PLACE, "term", "mean_abs", "relative", "inert")

Arrays = dict[str, np.ndarray]


def group(path: Path, name: str) -> Arrays:
    """The arrays of one group of a run's safetensors file: term -> (layers, width)."""
    prefix = f"{name}/"
    arrays = load_file(path)
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def layer_scores(selector: str, snapshots: Path | None, gradients: Path | None) -> Arrays | None:
    """Scores of every term, term -> (layers,); None when the run that is needed is not there."""
    if selector in ("fisher", "fisher_batch"):
        if gradients is None:
            return None
        squares = group(gradients, "mean_square" if selector == "fisher" else "batch_square")
        return {term: S.fisher_of_mean_squares(g) for term, g in squares.items()}
    if snapshots is None:
        return None
    pre, post = group(snapshots, "pre"), group(snapshots, "post")
    score = getattr(S, selector)
    return {term: score(pre[term], post[term]) for term in pre}


def score_cell(layout: Layout, cell: Cell) -> list[dict]:
    """One row per seed, selector, term and layer, and one with layer `mean`.

    Ranks count all terms of the model, 1 being the most important, ties sharing the better rank;
    an undefined score has none. Runs that are missing or diverged leave no rows.
    """
    files: dict[int, dict[str, Path]] = {}
    whose = {recipe.seed: recipe for recipe in cell.recipes}
    for recipe in cell.recipes:
        name = "biases" if recipe.technique == "all_biases" else "gradients"
        if _usable(layout, recipe):
            found = files.setdefault(recipe.seed, {})
            found[name] = layout.run(recipe) / f"{name}.safetensors"
    rows = []
    for seed in sorted(files):
        snapshots, gradients = files[seed].get("biases"), files[seed].get("gradients")
        inert = inert_terms(group(gradients, "mean_abs")) if gradients else {}
        for selector in cell.selectors:
            scores = layer_scores(selector, snapshots, gradients)
            if scores is not None:
                rows += _rows(whose[seed], selector, scores, inert)
    return rows


def _usable(layout: Layout, recipe: Recipe) -> bool:
    if run_flaw(layout, recipe) is not None:
        return False
    return read_json(layout.run(recipe) / "metrics.json")["status"] == "ok"


def _rows(recipe: Recipe, selector: str, scores: Arrays, inert: dict) -> list[dict]:
    layers = len(next(iter(scores.values())))
    columns = {str(i): {t: float(s[i]) for t, s in scores.items()} for i in range(layers)}
    columns["mean"] = {term: S.term_score(s) for term, s in scores.items()}
    rows = []
    for layer, values in columns.items():
        ranks = S.ranks(values)
        for term, value in values.items():
            rows.append(
                {
                    **_place(recipe),
                    "selector": selector,
                    "term": term,
                    "layer": layer,
                    "score": _number(value),
                    "rank": "" if ranks[term] is None else ranks[term],
                    "inert": str(term in inert).lower(),
                }
            )
    return rows


def trajectories(layout: Layout, cell: Cell) -> list[dict]:
    """The mean over layers of the scores of q, k and v after each epoch of every `all_biases` run.

    For the selectors that need snapshots, and runs of other settings too. Fisher information is
    measured before training, so it has no trajectory.
    """
    names = [name for name in cell.selectors if S.SELECTORS[name].needs == "snapshots"]
    rows = []
    for recipe in cell.runs:
        if names and recipe.technique == "all_biases" and _usable(layout, recipe):
            arrays = load_file(layout.run(recipe) / "biases.safetensors")
            rows += [_after(arrays, recipe, s, e) for s in names for e in _epochs(arrays)]
    return rows


def _epochs(arrays: Arrays) -> list[int]:
    """The epochs of which there are snapshots."""
    groups = {key.partition("/")[0] for key in arrays}
    return sorted(int(g.removeprefix("epoch-")) for g in groups if g.startswith("epoch-"))


def _after(arrays: Arrays, recipe: Recipe, selector: str, epoch: int) -> dict:
    score = S.SELECTORS[selector].score
    values = {
        term: S.term_score(score(arrays[f"pre/{term}"], arrays[f"epoch-{epoch}/{term}"]))
        for term in ("q", "k", "v")
        if f"pre/{term}" in arrays
    }
    return {
        "digest": recipe.digest,
        "selector": selector,
        "epoch": epoch,
        **{term: _number(value) for term, value in values.items()},
    }


def gradients(layout: Layout, cell: Cell) -> list[dict]:
    """How large each term's gradient is at the pretrained weights, and whether it is inert."""
    rows = []
    for recipe in cell.recipes:
        if recipe.technique == "all_biases" or not _usable(layout, recipe):
            continue
        mean_abs = group(layout.run(recipe) / "gradients.safetensors", "mean_abs")
        size, inert = sizes(mean_abs), inert_terms(mean_abs)
        top = largest(size)
        rows += [
            {
                **_place(recipe),
                "term": term,
                "mean_abs": _number(value),
                "relative": _number(value / top if top else math.nan),
                "inert": str(term in inert).lower(),
            }
            for term, value in size.items()
        ]
    return rows


def _place(recipe: Recipe) -> dict:
    return {
        "model": recipe.model["alias"],
        "task": recipe.task["name"],
        "regime": recipe.regime,
        "seed": recipe.seed,
    }


def _number(value: float) -> str:
    return "" if math.isnan(value) else repr(value)


def render_cell(layout: Layout, cell: Cell) -> dict[str, bytes]:
    """Path below data/scores -> content, for every file of a cell."""
    return {
        cell.scores(): _csv(COLUMNS, score_cell(layout, cell)),
        cell.trajectories(): _csv(TRAJECTORY, trajectories(layout, cell)),
        cell.gradients(): _csv(GRADIENT, gradients(layout, cell)),
    }


def write_cell(layout: Layout, cell: Cell) -> None:
    """Writes every file of a cell."""
    for key, content in render_cell(layout, cell).items():
        write_file(layout.scores(key), content)


def _csv(columns: tuple[str, ...], rows: list[dict]) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()
