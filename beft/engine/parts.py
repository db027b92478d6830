"""The scalars of a pretrained model that a recipe trains, and how many they are."""

import math

from beft.models.base import Model
from beft.study.recipe import Recipe
from beft.techniques import TECHNIQUES
from beft.techniques.base import Part, site_parts


def shapes_of(model: Model) -> dict[str, tuple[int, ...]]:
    """Parameter name -> shape, of all parameters outside the head."""
    named = model.model.named_parameters()
    return {n: tuple(p.shape) for n, p in named if n not in model.head}


def parts_of(model: Model, recipe: Recipe) -> tuple[Part, ...]:
    """The parameters, or parts of them, that a recipe trains besides the head."""
    return TECHNIQUES[recipe.technique].select(shapes_of(model), model.sites, recipe.seed)


def trained_numbers(model: Model, parts: tuple[Part, ...]) -> tuple[int, int]:
    """(scalars that a technique trains besides the head, parameters outside the head)."""
    shapes = shapes_of(model)
    trained = sum(
        math.prod(shapes[p.parameter]) if p.index is None else len(p.index) for p in parts
    )
    return trained, sum(math.prod(s) for s in shapes.values())


def trained_terms(model: Model, recipe: Recipe) -> tuple[str, ...]:
    """The bias terms that a bias-only technique trains.

    Raises:
        ValueError: the technique trains other scalars than those of whole bias terms.
    """
    chosen = {_key(part) for part in parts_of(model, recipe)}
    sites, shapes = model.sites, shapes_of(model)
    of_terms = {t: {_key(p) for p in site_parts(sites, shapes, (t,))} for t in sites.terms}
    terms = tuple(t for t in sites.terms if of_terms[t] <= chosen)
    if chosen != {key for t in terms for key in of_terms[t]}:
        raise ValueError(f"{recipe.technique} trains more or less than whole bias terms")
    return terms


def _key(part: Part) -> tuple[str, bytes]:
    return part.parameter, b"" if part.index is None else part.index.tobytes()
