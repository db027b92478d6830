"""From cached snapshots and gradients to scores: every selector, term, layer and seed of a cell."""

import csv
import io
import math
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from beft import selectors as S
from beft.inert import inert_terms
from beft.project import Cell
from beft.recipe import Recipe
from beft.store import Layout, read_json, run_flaw

COLUMNS = (
    "model",
    "task",
    "regime",
    "seed",
    "selector",
    "term",
    "layer",
    "score",
    "rank",
    "inert",
)

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
                rows += _rows(cell.recipes[0], seed, selector, scores, inert)
    return rows


def _usable(layout: Layout, recipe: Recipe) -> bool:
    if run_flaw(layout, recipe) is not None:
        return False
    return read_json(layout.run(recipe) / "metrics.json")["status"] == "ok"


def _rows(recipe: Recipe, seed: int, selector: str, scores: Arrays, inert: dict) -> list[dict]:
    layers = len(next(iter(scores.values())))
    columns = {str(i): {t: float(s[i]) for t, s in scores.items()} for i in range(layers)}
    columns["mean"] = {term: S.term_score(s) for term, s in scores.items()}
    rows = []
    for layer, values in columns.items():
        ranks = S.ranks(values)
        for term, value in values.items():
            rows.append(
                {
                    "model": recipe.model["alias"],
                    "task": recipe.task["name"],
                    "regime": recipe.regime,
                    "seed": seed,
                    "selector": selector,
                    "term": term,
                    "layer": layer,
                    "score": "" if math.isnan(value) else repr(value),
                    "rank": "" if ranks[term] is None else ranks[term],
                    "inert": str(term in inert).lower(),
                }
            )
    return rows


def render_scores(layout: Layout, cell: Cell) -> bytes:
    """The scores of a cell as csv."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(score_cell(layout, cell))
    return out.getvalue().encode()
