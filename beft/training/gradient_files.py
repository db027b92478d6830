"""Gradients at the pretrained weights: the file of an untuned run, and the test for inert terms."""

from collections.abc import Callable
from dataclasses import replace
from typing import get_args

import numpy as np
import torch
from safetensors.torch import save

from beft.engine.dispatch import serves
from beft.engine.gradients import measure
from beft.engine.memory import Passes
from beft.models.base import Model
from beft.models.encoder import init_head
from beft.selectors.inert import inert_terms
from beft.store.run_format import Statistic, grouped
from beft.study.recipe import Recipe
from beft.training.shared import Loader
from beft.training.state import Data

PROBE_EXAMPLES = 32  # enough to tell a zero gradient from a small one


def gradients_file(
    device: str,
    recipe: Recipe,
    model: Model,
    data: Data,
    passes: Passes,
    progress: Callable[[int, int, str], None],
) -> bytes:
    """The file of an untuned run's gradients.

    They are measured with the same head for all seeds: that of seed 0.

    Args:
        passes: counts those that do not fit into memory.
        progress: called with (examples done, examples in all, description).
    """
    total = len(data.train)
    init_head(model, seed=0)
    measured = measure(
        model,
        data.train,
        device,
        recipe.training["batch_size"],
        serves(model, device),
        passes,
        lambda done: progress(done, total, "gradients"),
    )
    tensors: dict[str, torch.Tensor] = {}
    for statistic in get_args(Statistic):
        terms = getattr(measured, statistic)
        tensors |= grouped(statistic, {t: torch.from_numpy(values) for t, values in terms.items()})
    return save(tensors)


def probe_inert(loader: Loader, recipe: Recipe) -> dict[str, str]:
    """Inert terms with the measurement that says so, from a few examples, without training."""
    exact = replace(recipe, training={**recipe.training, "precision": "float32"})
    model, train = loader.model(exact), loader.data(exact).train
    few = train.take(np.arange(min(PROBE_EXAMPLES, len(train))))
    init_head(model, seed=0)
    flat = serves(model, loader.device)
    return inert_terms(measure(model, few, loader.device, len(few), flat).mean_abs)
