"""Attention over a row of tokens for the hand-written passes: forward and backward, by blocks.

A block has S * heads matrices, for its S sequences of at most L tokens. Queries have L rows in
them, or one where only first tokens attend.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple

import torch

from beft.engine.encoder.flat import Flat
from beft.engine.encoder.frozen import typed

# On a CPU torch's softmax takes rows shorter than this one number at a time.
SHORT = 16

# Of each block 0 where a probability is dropped, else 1, (S * heads, L or 1, L), or None where none
# is; and the factor of the rest.
Drops = tuple[Sequence[torch.Tensor] | None, float]


class Shape(NamedTuple):
    """Of a block."""

    count: int  # matrices
    length: int  # rows of each
    start: int  # rows of all matrices before it
    number: int  # matrices before it


@dataclass(frozen=True)
class Kept:
    """What the backward pass needs."""

    spread: torch.Tensor  # rows of keys and values, and of queries unless they stand apart
    queries: torch.Tensor | None
    shares: list[torch.Tensor]  # probabilities of each block, (S * heads, L or 1, L) float32
    drops: Drops


@dataclass(frozen=True)
class Attention:
    """Attention in the layers of one pass."""

    flat: Flat
    heads: int
    firsts: bool  # whether only first tokens attend
    scaling: float  # of the scores
    dtype: torch.dtype  # of products as small as a head's

    @cached_property
    def shapes(self) -> list[Shape]:
        """Of all blocks."""
        sizes = [(len(b.places) * self.heads, b.places.shape[1]) for b in self.flat.blocks]
        starts = accumulate((c * n for c, n in sizes[:-1]), initial=0)
        numbers = accumulate((c for c, _ in sizes[:-1]), initial=0)
        return [Shape(*of) for of in zip(*zip(*sizes, strict=True), starts, numbers, strict=True)]

    def forward(
        self, joint: torch.Tensor, query: torch.Tensor | None, drops: Drops
    ) -> tuple[torch.Tensor, Kept]:
        """The weighted values, (N, H), or (S, H) of first tokens.

        Args:
            joint: (N, 3 * H) queries, keys and values; (N, 2 * H) keys and values for first tokens.
            query: (S, H) of first tokens, else None.
        """
        masks, boost = drops
        parts = 3 if query is None else 2
        width = joint.shape[1] // parts // self.heads
        there, _ = self.flat.grid(self.heads, parts)
        spread = typed(joint.view(-1, width).index_select(0, there), self.dtype)
        queries = None if query is None else self._ordered(query)
        rows = self._rows(spread.shape[0] // parts)
        out, kept = spread.new_empty(rows, width), Kept(spread, queries, [], drops)
        for i, (count, length, start, _) in enumerate(self.shapes):
            size = count * length
            q = self._queries(spread if queries is None else queries, i, parts)
            k = cut(spread, parts * start + (parts - 2) * size, count, length, swap=True)
            v = cut(spread, parts * start + (parts - 1) * size, count, length)
            share = softmax(typed(self._scores(i, q, k), torch.float32))
            used = share if masks is None else share * masks[i]
            result = self._queries(out, i, 1)
            result.baddbmm_(typed(used, v.dtype), v, beta=0, alpha=boost)
            kept.shares.append(share)
        return typed(self._joined(out), joint.dtype), kept

    def _scores(self, i: int, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        padding, _ = self.flat.padding(i, self.heads, self.dtype)
        if padding is not None:
            return torch.baddbmm(padding, q, k, alpha=self.scaling)
        scores = q.new_empty(len(q), q.shape[1], k.shape[2])
        return scores.baddbmm_(q, k, beta=0, alpha=self.scaling)

    def backward(
        self, grad: torch.Tensor, kept: Kept, only_values: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Gradients of `joint` and `query` from that of the weighted values.

        Args:
            only_values: of `joint` no more than the values, (N, H); none of `query`.
        """
        masks, boost = kept.drops
        given = self._ordered(grad) if self.firsts else self._spread(grad)
        parts = 1 if only_values else 2 if self.firsts else 3
        there, back = self.flat.grid(self.heads, parts)
        joint = given.new_empty(len(there), given.shape[1])
        query = torch.empty_like(given) if self.firsts and not only_values else None
        for i, (count, length, start, _) in enumerate(self.shapes):
            g = self._queries(given, i, 1)
            _, real = self.flat.padding(i, self.heads, self.dtype)
            if real is not None and not self.firsts:  # nobody reads what padding attends to
                g *= real
            used = kept.shares[i] if masks is None else kept.shares[i] * masks[i]
            v = cut(joint, parts * start + (parts - 1) * count * length, count, length)
            v.baddbmm_(typed(used, g.dtype).mT, g, beta=0, alpha=boost)
            if not only_values:
                self._through_scores(i, g, kept, joint, query)
        found = joint.index_select(0, back).view(-1, parts * grad.shape[1])
        joined = None if query is None else typed(self._joined(query), grad.dtype)
        return typed(found, grad.dtype), joined

    def _through_scores(
        self,
        i: int,
        g: torch.Tensor,
        kept: Kept,
        joint: torch.Tensor,
        query: torch.Tensor | None,
    ) -> None:
        """Writes the gradients of a block's queries and keys."""
        (count, length, start, _), parts = self.shapes[i], 3 if query is None else 2
        size, begin = count * length, parts * start
        inner = torch.bmm(g, cut(kept.spread, begin + (parts - 1) * size, count, length, swap=True))
        inner = typed(inner, torch.float32)
        masks, boost = kept.drops
        if masks is not None:
            inner *= masks[i]
        inner = softmax_back(inner, kept.shares[i])
        inner, alpha = typed(inner, g.dtype), boost * self.scaling
        k = cut(kept.spread, begin + (parts - 2) * size, count, length)
        q = self._queries(kept.spread if kept.queries is None else kept.queries, i, parts)
        to_q = self._queries(joint if query is None else query, i, parts)
        to_k = cut(joint, begin + (parts - 2) * size, count, length)
        to_q.baddbmm_(inner, k, beta=0, alpha=alpha)
        to_k.baddbmm_(inner.mT, q, beta=0, alpha=alpha)

    def _queries(self, rows: torch.Tensor, i: int, parts: int) -> torch.Tensor:
        """A block's matrices of what is as long as queries: the first part of its rows."""
        count, length, start, number = self.shapes[i]
        if self.firsts:
            return cut(rows, number, count, 1)
        return cut(rows, parts * start, count, length)

    def _rows(self, every: int) -> int:
        return self.heads * len(self.flat.slots) if self.firsts else every

    def _spread(self, rows: torch.Tensor) -> torch.Tensor:
        """(N, H) in the order of `Flat.grid`: (rows of all matrices, width)."""
        there, _ = self.flat.grid(self.heads)
        return typed(rows.view(-1, rows.shape[1] // self.heads).index_select(0, there), self.dtype)

    def _ordered(self, rows: torch.Tensor) -> torch.Tensor:
        """(S, H) of first tokens in the order of the blocks: (S * heads, width)."""
        ordered = typed(rows.index_select(0, self.flat.more["order"]), self.dtype)
        return ordered.view(-1, rows.shape[1] // self.heads)

    def _joined(self, rows: torch.Tensor) -> torch.Tensor:
        """(N, H), or (S, H) of first tokens: the inverse of `_spread` and `_ordered`."""
        width = self.heads * rows.shape[1]
        if self.firsts:
            return rows.view(-1, width).index_select(0, self.flat.more["rank"])
        return rows.index_select(0, self.flat.grid(self.heads)[1]).view(-1, width)


def softmax(scores: torch.Tensor) -> torch.Tensor:
    """Over the last dimension of (n, Q, L); the same shape, of other strides where L is short."""
    if scores.is_cuda or scores.shape[-1] >= SHORT:
        return torch._softmax(scores, -1, False)
    columns = scores.view(-1, scores.shape[-1]).t().contiguous()
    return torch._softmax(columns, 0, False).t().view(scores.shape)


def softmax_back(grad: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    """The gradient of scores from that of `softmax(scores)`, which is `shares`."""
    if grad.is_cuda or grad.shape[-1] >= SHORT:
        return torch._softmax_backward_data(grad, shares, -1, torch.float32)
    by_column, columns = (x.view(-1, x.shape[-1]).t() for x in (grad, shares))
    found = torch._softmax_backward_data(by_column.contiguous(), columns, 0, torch.float32)
    return found.t().view(grad.shape)


def cut(
    rows: torch.Tensor, start: int, count: int, length: int, swap: bool = False
) -> torch.Tensor:
    """Matrices (count, length, width) of the rows from `start` on, or transposed; same memory."""
    width = rows.shape[1]
    size, stride = ((width, length), (1, width)) if swap else ((length, width), (width, 1))
    return rows.as_strided((count, *size), (length * width, *stride), start * width)
