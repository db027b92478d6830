"""The two ways to compute runs behind one interface: packed without padding, or one by one."""

import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch

from beft.data.encoded import Encoded
from beft.engine.decoder.packed import Prompted, Whole
from beft.engine.encoder.packed import Flattened
from beft.engine.precision import predict
from beft.engine.single import Padded
from beft.models.decoder import Decoder
from beft.models.encoder import Encoder
from beft.study.recipe import Recipe
from beft.techniques import TECHNIQUES

log = logging.getLogger(__name__)

Losses = dict[int, float | None]
MAX_RUNS = {"cpu": 16, "cuda": 64}  # of one engine: more gain nothing


class Engine(Protocol):
    """R runs on one model; a run is named by its place in `recipes`."""

    recipes: Sequence[Recipe]
    tick: Callable[[], None]  # called between batches of `predict`; may raise to leave

    def step(self, batches: dict[int, np.ndarray], seeds: dict[int, int]) -> Losses:
        """One update of each of these runs.

        Args:
            batches: run -> rows of its training subset.
            seeds: run -> seed of this step's dropout.

        Returns:
            run -> mean loss; None, and no update, where loss or gradient is not finite.
        """

    def predict(self, data: Any, runs: Sequence[int]) -> list[np.ndarray]:
        """Logits (n, labels) of every example for each of these runs, dropout off.

        Of a decoder: scores (n, C) of candidates, or generated tokens (n, T).
        """

    def snapshot(self, run: int) -> dict[str, torch.Tensor]:
        """All biases of a run: term -> (layers, width) float32 on the CPU."""

    def head(self, run: int) -> dict[str, torch.Tensor]:
        """A run's head: parameter name -> value on the CPU."""

    def state(self) -> dict[str, torch.Tensor]:
        """Trained values and optimiser state, for a checkpoint."""

    def load(self, state: dict[str, torch.Tensor]) -> None:
        """Continues from what `state` gave."""

    def close(self) -> None:
        """Puts the model back to its pretrained weights."""


def packs_together(recipe: Recipe) -> bool:
    """Whether a run trains nothing but biases and the head, so that it can share a model."""
    technique = TECHNIQUES[recipe.technique]
    return technique.trains and technique.biases_only


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
    encoder: Encoder | Decoder,
    recipes: Sequence[Recipe],
    train: Sequence[Any],
    device: str,
    flat: bool,
) -> Engine:
    """The engine of one of `groups`.

    Args:
        train: each run's training subset.
        flat: whether the model can be computed without padding (`packing.serves`).
    """
    together = flat and packs_together(recipes[0])
    if isinstance(encoder, Decoder):
        if together:
            return Prompted(encoder, recipes, train, device)
        return Whole(encoder, recipes[0], train[0], device)
    if together:
        return Flattened(encoder, recipes, train, device)
    return Padded(encoder, recipes[0], train[0], device)


def serves(encoder: Encoder | Decoder, device: str) -> bool:
    """Whether a row gives this model's own logits; otherwise its runs take the padded path.

    Tried on three short sequences: an architecture whose attention is not a plain function of
    query, key and value (relative positions, for one) fails or differs.
    """
    if isinstance(encoder, Decoder):
        return True  # one path for all of them
    special = set(encoder.tokenizer.all_special_ids)
    words = [i for i in range(len(encoder.tokenizer)) if i not in special][:15]
    types = "token_type_ids" in encoder.tokenizer.model_input_names
    ids = [words[:3], words[3:10], words[10:15]]
    data = Encoded(ids, [[0] * len(i) for i in ids] if types else None, torch.zeros(3))
    settings = {"learning_rate": 0.0, "weight_decay": 0.0, "max_grad_norm": 1.0}
    recipe = Recipe({}, {}, "", {}, "head_only", 0, {**settings, "precision": "float32"})
    try:
        got = Flattened(encoder, [recipe], [data], device).predict(data, [0])[0]
    except (TypeError, AttributeError, RuntimeError, KeyError, ValueError, IndexError) as error:
        log.info(
            "its runs take the padded path, one by one: %s", " ".join(str(error).split())[:300]
        )
        return False
    expected = predict(encoder.model, data, encoder.tokenizer.pad_token_id, device, "float32")
    return bool(np.allclose(got, expected, rtol=1e-4, atol=1e-5))
