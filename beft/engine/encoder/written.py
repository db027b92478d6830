"""Hidden states of an encoder like BERT by the hand-written passes, differentiable in biases."""

from collections.abc import Mapping
from typing import Any

import torch

from beft.engine.encoder.backward import backward, lowest
from beft.engine.encoder.flat import Flat
from beft.engine.encoder.forward import Key, forward
from beft.engine.encoder.table import Table


class _States(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Table, flat: Flat, keys: list[Key], *values: torch.Tensor):
        ctx.given = table, flat, keys
        own = dict(zip(keys, values, strict=True))
        states, ctx.tapes = forward(table, flat, own, lowest(keys)[0])
        return states.float()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor):
        table, flat, keys = ctx.given
        found = backward(table, flat, ctx.tapes, keys, grad)
        return None, None, None, *(found[key] for key in keys)


def written_states(table: Table, flat: Flat, values: Mapping[Key, torch.Tensor]) -> torch.Tensor:
    """What the head reads of each sequence (`forward`), (S, H) float32.

    Args:
        values: the trained biases, (R, width) for the runs of the row; all others are the model's.
    """
    if values:
        return _States.apply(table, flat, list(values), *values.values())
    return forward(table, flat, values)[0].float()
