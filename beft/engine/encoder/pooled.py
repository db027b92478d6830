"""The mean of a row's hidden states over each sequence, where that is what the head reads."""

import torch

from beft.engine.encoder.flat import Flat

_MEAN = 1  # a mode of torch.embedding_bag


def means(flat: Flat, rows: torch.Tensor) -> torch.Tensor:
    """The mean of the rows (N, H) of each sequence's tokens, (S, H) float32.

    No row is multiplied: 0 * NaN of a diverging run would reach the other runs.
    """
    rows = rows[: flat.tokens].float()
    return torch.embedding_bag(rows, flat.more["every"], flat.first, False, _MEAN)[0]


def means_back(flat: Flat, grad: torch.Tensor) -> torch.Tensor:
    """The gradient of the rows, (N, H), from that of their means; copies have none."""
    each = grad / flat.lengths[:, None]
    rows = each.repeat_interleave(flat.lengths, 0, output_size=flat.tokens)
    return torch.nn.functional.pad(rows, (0, 0, 0, flat.ids.shape[1] - flat.tokens))


class Means(torch.autograd.Function):
    """`means`, differentiable."""

    @staticmethod
    def forward(ctx, rows, flat: Flat):
        ctx.flat, ctx.dtype = flat, rows.dtype
        return means(flat, rows)

    @staticmethod
    def backward(ctx, grad):
        return means_back(ctx.flat, grad).to(ctx.dtype), None
