"""Chooses the engine of runs: many of them packed without padding, or one at a time."""

from collections.abc import Sequence
from typing import Any

from beft.engine.base import Engine
from beft.engine.decoder.packed import Prompted
from beft.engine.decoder.single import SinglePrompted
from beft.engine.encoder.check import computes_rows
from beft.engine.encoder.packed import Flattened
from beft.engine.encoder.padded import Padded
from beft.models.base import Model
from beft.models.decoder import Decoder
from beft.models.encoder import Encoder
from beft.study.recipe import Recipe
from beft.techniques import TECHNIQUES

MAX_RUNS = {"cpu": 16, "cuda": 64}  # of one engine: more gain nothing


def packs_together(recipe: Recipe) -> bool:
    """Whether a run changes nothing but biases and the head, so that it can share a model."""
    return TECHNIQUES[recipe.technique].biases_only


def groups(recipes: Sequence[Recipe], flat: bool, device: str) -> list[list[Recipe]]:
    """Runs that one engine computes: equal settings but for learning rate, seed and technique."""
    most = MAX_RUNS[device.partition(":")[0]]
    together: dict[object, list[Recipe]] = {}
    for recipe in recipes:
        settings = {k: v for k, v in recipe.training.items() if k != "learning_rate"}
        shared = flat and packs_together(recipe)
        key = repr(settings) if shared else recipe.digest
        together.setdefault(key, []).append(recipe)
    return [g[i : i + most] for g in together.values() for i in range(0, len(g), most)]


def engine(
    model: Model,
    recipes: Sequence[Recipe],
    train: Sequence[Any],  # `Encoded` for an encoder, `Prompts` for a decoder
    device: str,
    flat: bool,
) -> Engine[Any, Any]:
    """The engine of one of `groups`.

    Args:
        train: each run's training subset; empty where no run is trained.
        flat: whether the model can be computed without padding (`serves`).
    """
    together = flat and packs_together(recipes[0])
    if isinstance(model, Decoder):
        return (Prompted if together else SinglePrompted)(model, recipes, train, device)
    assert isinstance(model, Encoder)
    return (Flattened if together else Padded)(model, recipes, train, device)


def serves(model: Model, device: str) -> bool:
    """Whether the model can be computed without padding; otherwise its runs are padded batches.

    Decoders are always computed in rows (`decoder.check` refuses those that cannot be).
    """
    return not isinstance(model, Encoder) or computes_rows(model, device)
