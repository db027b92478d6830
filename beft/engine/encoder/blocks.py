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

    matrices: int
    length: int  # rows of each
    start: int  # rows of all matrices before it
    number: int  # of matrices before it


class Operands(NamedTuple):
    """Matrices of a block, (S * heads, L, width); queries have one row where first tokens attend.

    They are views of rows, so that what is written into one is in the rows.
    """

    queries: torch.Tensor
    keys: torch.Tensor
    values: torch.Tensor


class Kept(NamedTuple):
    """What the backward pass needs."""

    operands: list[Operands]
    shares: list[torch.Tensor]  # probabilities of each block, (S * heads, L or 1, L) float32
    drops: Drops


@dataclass(frozen=True)
class Attention:
    """Attention in the layers of one pass, which share what is not kept."""

    flat: Flat
    heads: int
    width: int  # of a head
    firsts: bool  # whether only first tokens attend
    dtype: torch.dtype  # of products as small as a head's

    @cached_property
    def shapes(self) -> list[Shape]:
        """Of all blocks."""
        sizes = [(len(b.places) * self.heads, b.places.shape[1]) for b in self.flat.blocks]
        starts = accumulate((c * n for c, n in sizes[:-1]), initial=0)
        numbers = accumulate((c for c, _ in sizes[:-1]), initial=0)
        return [Shape(*of) for of in zip(*zip(*sizes, strict=True), starts, numbers, strict=True)]

    @cached_property
    def _attended(self) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Rows that are as many as queries, and the matrices in them."""
        rows = self._empty(len(self.flat.slots) * self.heads if self.firsts else self._rows)
        return rows, self._as_queries(rows)

    @cached_property
    def _gradients(self) -> tuple[torch.Tensor, torch.Tensor | None, list[Operands]]:
        """Rows of keys, values and queries; rows of queries that stand apart; both by block."""
        apart = self._empty(len(self.flat.slots) * self.heads) if self.firsts else None
        rows = self._empty((2 if self.firsts else 3) * self._rows)
        return rows, apart, self._operands(rows, apart)

    @property
    def scaling(self) -> float:
        """Of the scores."""
        return self.width**-0.5

    @property
    def _rows(self) -> int:
        return sum(count * length for count, length, _, _ in self.shapes)

    def _empty(self, rows: int) -> torch.Tensor:
        return torch.empty(rows, self.width, dtype=self.dtype, device=self.flat.ids.device)

    def forward(
        self, joint: torch.Tensor, query: torch.Tensor | None, drops: Drops
    ) -> tuple[torch.Tensor, Kept]:
        """The weighted values, (N, H), or (S, H) of first tokens.

        Args:
            joint: (N, 3 * H) queries, keys and values; (N, 2 * H) keys and values for first tokens.
            query: (S, H) of first tokens, else None.
        """
        spread = self._spread(joint, 3 if query is None else 2)
        operands = self._operands(spread, None if query is None else self._ordered(query))
        out, results = self._attended
        shares = []
        masks, boost = drops
        for i, (q, k, v) in enumerate(operands):
            share = softmax(typed(self._scores(i, q, k), torch.float32))
            used = share if masks is None else share * masks[i]
            results[i].baddbmm_(typed(used, v.dtype), v, beta=0, alpha=boost)
            shares.append(share)
        return typed(self._joined(out), joint.dtype), Kept(operands, shares, drops)

    def _scores(self, i: int, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        padding, _ = self.flat.padding(i, self.heads, self.dtype)
        if padding is not None:
            return torch.baddbmm(padding, q, k.mT, alpha=self.scaling)
        scores = q.new_empty(len(q), q.shape[1], k.shape[1])
        return scores.baddbmm_(q, k.mT, beta=0, alpha=self.scaling)

    def backward(
        self, grad: torch.Tensor, kept: Kept, only_values: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Gradients of `joint` and `query` from that of the weighted values.

        Args:
            only_values: of `joint` no more than the values, (N, H); none of `query`.
        """
        masks, boost = kept.drops
        given = self._as_queries(self._ordered(grad) if self.firsts else self._spread(grad))
        if only_values:
            rows, apart = self._empty(self._rows), None
            to_values = [self._cut(rows, s.start, s) for s in self.shapes]
        else:
            rows, apart, found = self._gradients
            to_values = [of.values for of in found]
        for i, g in enumerate(given):
            _, real = self.flat.padding(i, self.heads, self.dtype)
            if real is not None and not self.firsts:  # nobody reads what padding attends to
                g *= real
            used = kept.shares[i] if masks is None else kept.shares[i] * masks[i]
            to_values[i].baddbmm_(typed(used, g.dtype).mT, g, beta=0, alpha=boost)
            if not only_values:
                self._through_scores(i, g, kept, found[i])
        joint = self._joined(rows, rows_apart=False)
        return typed(joint, grad.dtype), None if apart is None else typed(
            self._joined(apart), grad.dtype
        )

    def _through_scores(self, i: int, g: torch.Tensor, kept: Kept, found: Operands) -> None:
        """Writes the gradients of a block's queries and keys."""
        (q, k, v), (masks, boost) = kept.operands[i], kept.drops
        inner = typed(torch.bmm(g, v.mT), torch.float32)
        if masks is not None:
            inner *= masks[i]
        inner = typed(softmax_back(inner, kept.shares[i]), g.dtype)
        found.queries.baddbmm_(inner, k, beta=0, alpha=boost * self.scaling)
        found.keys.baddbmm_(inner.mT, q, beta=0, alpha=boost * self.scaling)

    def _operands(self, rows: torch.Tensor, apart: torch.Tensor | None) -> list[Operands]:
        """Of all blocks.

        Args:
            rows: of keys and values, and before them of queries, unless these stand apart.
        """
        parts = 3 if apart is None else 2
        found = []
        for shape in self.shapes:
            size = shape.matrices * shape.length
            starts = [parts * shape.start + part * size for part in range(parts)]
            views = [self._cut(rows, start, shape) for start in starts]
            if apart is not None:
                views.insert(0, self._cut(apart, shape.number, shape._replace(length=1)))
            found.append(Operands(*views))
        return found

    def _as_queries(self, rows: torch.Tensor) -> list[torch.Tensor]:
        """The matrices of each block in rows that are as many as queries."""
        if self.firsts:
            return [self._cut(rows, s.number, s._replace(length=1)) for s in self.shapes]
        return [self._cut(rows, s.start, s) for s in self.shapes]

    def _cut(self, rows: torch.Tensor, start: int, shape: Shape) -> torch.Tensor:
        """Matrices of the rows from `start` on."""
        size, width = (shape.matrices, shape.length, self.width), self.width
        return rows.as_strided(size, (shape.length * width, width, 1), start * width)

    def _spread(self, rows: torch.Tensor, parts: int = 1) -> torch.Tensor:
        """(N, parts * H) in the order of `Flat.grid`: (rows of all matrices, width)."""
        there, _ = self.flat.grid(self.heads, parts)
        return typed(rows.view(-1, self.width).index_select(0, there), self.dtype)

    def _ordered(self, rows: torch.Tensor) -> torch.Tensor:
        """(S, H) of first tokens in the order of the blocks: (S * heads, width)."""
        ordered = typed(rows.index_select(0, self.flat.more["order"]), self.dtype)
        return ordered.view(-1, self.width)

    def _joined(self, rows: torch.Tensor, rows_apart: bool = True) -> torch.Tensor:
        """(N, parts * H), or (S, H) of first tokens: the inverse of `_spread` and `_ordered`."""
        if self.firsts and rows_apart:
            return rows.view(-1, self.heads * self.width).index_select(0, self.flat.more["rank"])
        parts = len(rows) // self._rows
        _, back = self.flat.grid(self.heads, parts)
        return rows.index_select(0, back).view(-1, parts * self.heads * self.width)


def softmax(scores: torch.Tensor) -> torch.Tensor:
    """Over the last dimension of (n, Q, L); the same shape, of other strides where L is short."""
    if scores.is_cuda or scores.shape[-1] >= SHORT:
        return torch._softmax(scores, -1, False)
    columns = scores.view(-1, scores.shape[-1]).t().contiguous()
    return _rows(torch._softmax(columns, 0, False), scores.shape)


def softmax_back(grad: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    """The gradient of scores from that of `softmax(scores)`, which is `shares`."""
    if grad.is_cuda or grad.shape[-1] >= SHORT:
        return torch._softmax_backward_data(grad, shares, -1, torch.float32)
    by_column, columns = (x.view(-1, x.shape[-1]).t().contiguous() for x in (grad, shares))
    return _rows(torch._softmax_backward_data(by_column, columns, 0, torch.float32), grad.shape)


def _rows(columns: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Matrices in columns, in strides that batched products can read."""
    rows = columns.t()
    return (rows.contiguous() if shape[1] == 1 else rows).view(shape)
