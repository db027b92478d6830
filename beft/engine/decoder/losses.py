"""Losses of a decoder's examples in one pass, and how a pass is made to need less memory."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from transformers import PreTrainedModel

from beft.data.prompts import Prompts
from beft.engine.base import Settings
from beft.engine.decoder.dropout import Dropping
from beft.engine.decoder.likelihood import (
    Cache,
    adding,
    candidate_scores,
    example_losses,
    lowering,
)
from beft.engine.decoder.rows import Item, arrange, cells_of, items
from beft.engine.memory import Passes
from beft.engine.noise import token_keys
from beft.engine.shares import Share
from beft.errors import UserError
from beft.models.decoder import Decoder
from beft.models.sites import Site

log = logging.getLogger(__name__)


@contextmanager
def share_losses(
    decoder: Decoder,
    chunk: Sequence[Share[Prompts]],
    seeds: Sequence[int],
    settings: Settings,
    device: str,
    changes: dict[Site, torch.Tensor] | None = None,
    cache: Cache | None = None,
) -> Iterator[torch.Tensor]:
    """The loss of each example of these shares, (n,), from one pass; differentiated within.

    Args:
        seeds: of each share's dropout.
        settings: of the recipes (`settings.Training`).
        changes: added to the biases, one row per share; see `likelihood.adding`.
        cache: a trained prefix.
    """
    model, objective = decoder.model, settings["objective"]
    only_gold = objective == "language_model_on_answer"
    examples = [x for i, s in enumerate(chunk) for x in items(s.data, s.rows, i, only_gold)]
    rows = arrange(examples, device, model.dtype)
    gold = [s.data.gold(r) for s in chunk for r in s.rows]
    owner = rows.owner if len(chunk) > 1 else None
    with ExitStack() as stack:
        stack.enter_context(adding(model, changes or {}, owner))
        stack.callback(model.eval)
        with ExitStack() as forward:
            forward.enter_context(lowering(model, device, settings["precision"]))
            if model.is_activation_checkpointing:
                model.train()
            elif drops(model):
                model.train()
                forward.enter_context(Dropping(_keys(chunk, examples, seeds).to(device)))
            scores = candidate_scores(model, rows, cache)
        yield example_losses(scores, rows, gold, objective, settings.get("scoring", "normalised"))


def save_memory(
    model: PreTrainedModel, passes: Passes, error: Exception, prefix: bool = False
) -> None:
    """Turns on gradient checkpointing, after a pass over one example that did not fit.

    Raises:
        UserError: the model has dropout, which a second computation would draw anew, or a prefix,
            which gradient checkpointing loses.
        The error itself, where gradient checkpointing is on already.
    """
    if model.is_activation_checkpointing:
        raise error
    if drops(model) or prefix:
        advice = "use a smaller max_length" if prefix else "set 'dropout: 0.0'"
        raise UserError(
            "one example does not fit into memory, and gradient checkpointing is not possible with "
            f"{'a prefix' if prefix else 'dropout'}; {advice}"
        ) from error
    passes.refused += 1
    log.warning("memory: one example does not fit; its layers are computed twice from now on")
    model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})


def _keys(
    chunk: Sequence[Share[Prompts]], examples: list[Item], seeds: Sequence[int]
) -> torch.Tensor:
    """The dropout key of each cell of the rows, (B, W) int32."""
    cells, shape = cells_of(examples)
    numbers = [share.start + i for share in chunk for i in range(len(share.rows))]
    each = [seed for share, seed in zip(chunk, seeds, strict=True) for _ in share.rows]
    keys = np.zeros(shape, np.int32)
    keys.flat[np.concatenate(cells)] = token_keys(each, numbers, [len(c) for c in cells])
    return torch.from_numpy(keys)


def drops(model: PreTrainedModel) -> bool:
    """Whether any dropout of the model has a probability above 0."""
    config = model.config.to_dict()
    return any(
        "drop" in k and isinstance(value, int | float) and value > 0 for k, value in config.items()
    )
