"""Attention over a row of tokens for the hand-written passes: forward and backward, by blocks.

A block has S * heads matrices, for its S sequences of at most L tokens. Queries have L rows in
them, or one where only first tokens attend.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch

from beft.engine.encoder.flat import Flat
from beft.engine.encoder.frozen import typed


@dataclass(frozen=True)
class Kept:
    """What the backward pass needs."""

    spread: torch.Tensor  # rows of keys and values, and of queries unless they stand apart
    queries: torch.Tensor | None
    shares: list[torch.Tensor]  # probabilities of each block, (S * heads, L or 1, L) float32


@dataclass(frozen=True)
class Attention:
    """Attention in one layer."""

    flat: Flat
    heads: int
    firsts: bool  # whether only first tokens attend
    scaling: float  # of the scores
    # of each block, 0 where a probability is dropped, else 1: (S * heads, L or 1, L)
    masks: Sequence[torch.Tensor] | None
    boost: float  # factor of what is not dropped
    dtype: torch.dtype  # of products as small as a head's

    def forward(self, joint: torch.Tensor, query: torch.Tensor | None) -> tuple[torch.Tensor, Kept]:
        """The weighted values, (N, H), or (S, H) of first tokens.

        Args:
            joint: (N, 3 * H) queries, keys and values; (N, 2 * H) keys and values for first tokens.
            query: (S, H) of first tokens, else None.
        """
        parts = 3 if query is None else 2
        width = joint.shape[1] // parts // self.heads
        there, _ = self.flat.grid(self.heads, parts)
        spread = typed(joint.view(-1, width).index_select(0, there), self.dtype)
        queries = None if query is None else self._ordered(query)
        rows = self._rows(spread.shape[0] // parts)
        out, kept = spread.new_empty(rows, width), Kept(spread, queries, [])
        for i, (count, length, start) in enumerate(self._shapes()):
            size = count * length
            q = self._queries(spread if queries is None else queries, i, parts)
            k = cut(spread, parts * start + (parts - 2) * size, count, length, swap=True)
            v = cut(spread, parts * start + (parts - 1) * size, count, length)
            share = torch._softmax(typed(self._scores(i, q, k), torch.float32), -1, False)
            used = share if self.masks is None else share * self.masks[i]
            result = self._queries(out, i, 1)
            result.baddbmm_(typed(used, v.dtype), v, beta=0, alpha=self.boost)
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
        given = self._ordered(grad) if self.firsts else self._spread(grad)
        parts = 1 if only_values else 2 if self.firsts else 3
        there, back = self.flat.grid(self.heads, parts)
        joint = given.new_empty(len(there), given.shape[1])
        query = torch.empty_like(given) if self.firsts and not only_values else None
        for i, (count, length, start) in enumerate(self._shapes()):
            g = self._queries(given, i, 1)
            _, real = self.flat.padding(i, self.heads, self.dtype)
            if real is not None and not self.firsts:  # nobody reads what padding attends to
                g *= real
            used = kept.shares[i] if self.masks is None else kept.shares[i] * self.masks[i]
            v = cut(joint, parts * start + (parts - 1) * count * length, count, length)
            v.baddbmm_(typed(used, g.dtype).mT, g, beta=0, alpha=self.boost)
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
        (count, length, start), parts = self._shapes()[i], 3 if query is None else 2
        size, begin = count * length, parts * start
        inner = torch.bmm(g, cut(kept.spread, begin + (parts - 1) * size, count, length, swap=True))
        inner = typed(inner, torch.float32)
        if self.masks is not None:
            inner *= self.masks[i]
        inner = torch._softmax_backward_data(inner, kept.shares[i], -1, torch.float32)
        inner, alpha = typed(inner, g.dtype), self.boost * self.scaling
        k = cut(kept.spread, begin + (parts - 2) * size, count, length)
        q = self._queries(kept.spread if kept.queries is None else kept.queries, i, parts)
        to_q = self._queries(joint if query is None else query, i, parts)
        to_k = cut(joint, begin + (parts - 2) * size, count, length)
        to_q.baddbmm_(inner, k, beta=0, alpha=alpha)
        to_k.baddbmm_(inner.mT, q, beta=0, alpha=alpha)

    def _shapes(self) -> list[tuple[int, int, int]]:
        """Of each block: its matrices, their rows, and the rows of all matrices before it."""
        shapes = [(len(b.places) * self.heads, b.places.shape[1]) for b in self.flat.blocks]
        starts = accumulate((c * n for c, n in shapes[:-1]), initial=0)
        return [(c, n, start) for (c, n), start in zip(shapes, starts, strict=True)]

    def _queries(self, rows: torch.Tensor, i: int, parts: int) -> torch.Tensor:
        """A block's matrices of what is as long as queries: the first part of its rows."""
        count, length, start = self._shapes()[i]
        if self.firsts:
            return cut(rows, sum(c for c, _, _ in self._shapes()[:i]), count, 1)
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


def cut(
    rows: torch.Tensor, start: int, count: int, length: int, swap: bool = False
) -> torch.Tensor:
    """Matrices (count, length, width) of the rows from `start` on, or transposed; same memory."""
    width = rows.shape[1]
    size, stride = ((width, length), (1, width)) if swap else ((length, width), (width, 1))
    return rows.as_strided((count, *size), (length * width, *stride), start * width)
