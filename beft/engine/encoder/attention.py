"""Attention over a row of tokens, separately for each sequence of the row."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from beft.engine.encoder.flat import Block, Flat

IMPLEMENTATION = "beft_flat"


def attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    flat: Flat,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **others: object,
) -> tuple[torch.Tensor, None]:
    """Attention of each sequence of a row, with the signature of transformers' interface.

    Args:
        query, key, value: (1, heads, N, width of a head).
        flat: the row, with its sequences.
        dropout: of the attention probabilities.
        sliding_window: how far a token sees; only None, which is everywhere.

    Returns:
        (1, N, heads, width), None

    Raises:
        TypeError: tokens see only those near them.
    """
    if sliding_window is not None:
        raise TypeError(f"its tokens see only those near them (sliding_window {sliding_window})")
    if torch.is_grad_enabled():
        p = dropout if flat.noise is not None else 0.0
        return _Attention.apply(query, key, value, flat, scaling, p), None
    _, heads, total, width = query.shape
    rows = [x[0].transpose(0, 1).reshape(total, heads * width) for x in (query, key, value)]
    outputs = []
    for block in flat.blocks:
        count, longest = block.places.shape
        q, k, v = (  # (S, heads, L, width)
            r[block.places].view(count, longest, heads, width).transpose(1, 2) for r in rows
        )
        mask = None if block.real is None else block.real[:, None, None]
        out = scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scaling)
        outputs.append(out.transpose(1, 2).reshape(count * longest, heads * width))
    return torch.cat(outputs)[flat.cells].view(1, total, heads, width), None


class _Attention(torch.autograd.Function):
    """The same for training: fewer operations on small tensors, and dropout from `flat.noise`."""

    @staticmethod
    def forward(ctx, query, key, value, flat: Flat, scaling: float, p: float):
        with torch.autocast(query.device.type, enabled=False):  # types are chosen here
            heads, total, width = query.shape[1:]
            # Products as small as a head's are several times slower in bfloat16 on CPUs.
            dtype = query.dtype if query.is_cuda else torch.float32
            grid, cells = flat.grid(heads)
            ctx.flat, ctx.scaling, ctx.grid, ctx.cells = flat, scaling, grid, cells
            spread = [_rows(x, dtype).index_select(0, grid) for x in (query, key, value)]
            shares = flat.noise.shares(heads, p) if p and flat.noise is not None else None
            kept, outputs = [], []
            for block, q, k, v in _by_block(flat, heads, spread):
                # With a beta of 0 the first argument is ignored.
                mask = q.new_empty(1, 1, 1) if block.mask is None else _each_head(block.mask, heads)
                beta = 0 if block.mask is None else 1
                scores = torch.baddbmm(  # (S * heads, L, L)
                    mask.to(dtype), q, k.transpose(1, 2), beta=beta, alpha=scaling
                )
                share = torch.softmax(scores, dim=-1, dtype=torch.float32)
                factor = _factor(block, heads, shares)
                used = share if factor is None else share * factor
                outputs.append(torch.bmm(used.to(dtype), v))
                kept += [q, k, v, share, factor]
            ctx.save_for_backward(*kept)
            out = torch.cat([o.view(-1, width) for o in outputs]).index_select(0, cells)
            return out.view(1, total, heads, width).to(value.dtype)

    @staticmethod
    def backward(ctx, grad):
        total, heads, width = grad.shape[1:]
        saved, grads = ctx.saved_tensors, []
        spread = grad.reshape(-1, width).to(saved[0].dtype).index_select(0, ctx.grid)
        for i, (_, g) in enumerate(_by_block(ctx.flat, heads, [spread])):
            q, k, v, share, factor = saved[5 * i : 5 * i + 5]
            used = share if factor is None else share * factor
            inner = torch.bmm(g, v.transpose(1, 2)).float()
            if factor is not None:
                inner *= factor
            inner = share * (inner - (inner * share).sum(-1, keepdim=True))
            inner = (inner * ctx.scaling).to(q.dtype)
            found = (
                torch.bmm(inner, k) if ctx.needs_input_grad[0] else None,
                torch.bmm(inner.transpose(1, 2), q) if ctx.needs_input_grad[1] else None,
                torch.bmm(used.transpose(1, 2).to(g.dtype), g),
            )
            grads.append(found)
        joined = [_join(g, ctx.cells, heads, grad.dtype) for g in zip(*grads, strict=True)]
        return *joined, None, None, None


def _rows(x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """(1, heads, N, width) as one row per token and head, (N * heads, width)."""
    return x[0].transpose(0, 1).reshape(-1, x.shape[-1]).to(dtype)


def _by_block(
    flat: Flat, heads: int, tensors: list[torch.Tensor]
) -> Iterator[tuple[Any, ...]]:  # Block, then a tensor for each of `tensors`
    """Each block with its part (S * heads, L, width) of each of these tensors."""
    sizes = [heads * block.places.numel() for block in flat.blocks]
    for block, *parts in zip(flat.blocks, *(t.split(sizes) for t in tensors), strict=True):
        shape = (-1, block.places.shape[1], parts[0].shape[-1])
        yield block, *(part.view(shape) for part in parts)


def _each_head(x: torch.Tensor, heads: int) -> torch.Tensor:
    """(S, ...) repeated for each head, (S * heads, ...)."""
    return x.repeat_interleave(heads, 0)


def _factor(
    block: Block, heads: int, shares: Callable[[torch.Tensor], torch.Tensor] | None
) -> torch.Tensor | None:
    """Factors of attention probabilities, (S * heads, L, L): dropout, and 0 in rows of padding."""
    if shares is None:
        return None if block.real is None else _each_head(block.real[:, :, None].float(), heads)
    factor = shares(block.places)
    if block.real is not None:
        factor *= block.real[:, None, :, None]
    return factor.flatten(0, 1)


def _join(
    parts: Sequence[torch.Tensor | None], cells: torch.Tensor, heads: int, dtype: torch.dtype
) -> torch.Tensor | None:
    """Joins the gradients of blocks to the gradient of (1, heads, N, width)."""
    if parts[0] is None:
        return None
    rows = torch.cat([part.reshape(-1, part.shape[-1]) for part in parts if part is not None])
    rows = rows.index_select(0, cells)
    return rows.view(1, -1, heads, rows.shape[-1]).transpose(1, 2).to(dtype)


AttentionInterface.register(IMPLEMENTATION, attention)
