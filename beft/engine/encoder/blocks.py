"""Attention over a row of tokens for the hand-written passes: forward and backward, by blocks.

Tensors of a block have S * heads matrices, for its S sequences of at most L tokens; a query has Q
rows in them, L, or 1 where only first tokens attend.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from beft.engine.encoder.flat import Flat


@dataclass(frozen=True)
class Kept:
    """What the backward pass of one block needs."""

    query: torch.Tensor  # (S * heads, Q, width)
    key: torch.Tensor  # (S * heads, L, width)
    value: torch.Tensor
    share: torch.Tensor  # (S * heads, Q, L) probabilities, float32
    mask: torch.Tensor | None  # the same shape, 0 where a probability is dropped, else 1


@dataclass(frozen=True)
class Attention:
    """Attention in one layer."""

    flat: Flat
    heads: int
    firsts: bool  # whether only first tokens attend
    scaling: float  # of the scores
    # for each block 0 where a probability is dropped, (S, heads, Q, L); None without dropout
    masks: Sequence[torch.Tensor] | None
    boost: float  # factor of what is not dropped
    dtype: torch.dtype  # of products as small as a head's

    def forward(
        self, joint: torch.Tensor, query: torch.Tensor | None
    ) -> tuple[torch.Tensor, list[Kept]]:
        """The weighted values, (N, H), or (S, H) of first tokens.

        Args:
            joint: (N, 3 * H) queries, keys and values; (N, 2 * H) keys and values for first tokens.
            query: (S, H) of first tokens, else None.
        """
        parts = 3 if query is None else 2
        width = joint.shape[1] // parts // self.heads
        there, _ = self.flat.grid(self.heads, parts)
        spread = joint.view(-1, width).index_select(0, there).to(self.dtype)
        each = self._by_block(spread, parts)
        queries = [part[0] for part in each] if query is None else self._queries(query)
        counts = [q.shape[0] * q.shape[1] for q in queries]
        out = spread.new_empty(sum(counts), width)
        kept = []
        for i, (q, part, result) in enumerate(zip(queries, each, out.split(counts), strict=True)):
            kept.append(self._attend(i, q, part[-2], part[-1], result.view(q.shape)))
        return self._joined(out).to(joint.dtype), kept

    def _attend(
        self, i: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, out: torch.Tensor
    ) -> Kept:
        """Writes the weighted values of block `i` to `out`."""
        padding, keys = self.flat.padding(i, self.heads, self.dtype), k.transpose(1, 2)
        if padding is None:
            scores = q.new_empty(len(q), q.shape[1], k.shape[1])
            scores.baddbmm_(q, keys, beta=0, alpha=self.scaling)
        else:
            scores = torch.baddbmm(padding, q, keys, alpha=self.scaling)
        share = torch.softmax(scores, -1, dtype=torch.float32)
        mask = None if self.masks is None else self.masks[i].flatten(0, 1)
        used = share if mask is None else share * mask
        out.baddbmm_(used.to(v.dtype), v, beta=0, alpha=self.boost)
        return Kept(q, k, v, share, mask)

    def backward(
        self, grad: torch.Tensor, kept: Sequence[Kept], only_values: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Gradients of `joint` and `query` from that of the weighted values.

        Args:
            only_values: of `joint` no more than the values, (N, H); none of `query`.
        """
        width = grad.shape[1] // self.heads
        if self.firsts:
            given = self._queries(grad)
        else:
            there, _ = self.flat.grid(self.heads)
            spread = grad.view(-1, width).index_select(0, there).to(self.dtype)
            given = [part[0] for part in self._by_block(spread, 1)]
        parts = 1 if only_values else 2 if self.firsts else 3
        there, back = self.flat.grid(self.heads, parts)
        joint = given[0].new_empty(len(there), width)
        each = self._by_block(joint, parts)
        queries = [part[0] for part in each]
        if self.firsts:
            query = joint.new_empty(len(self.flat.slots) * self.heads, width)
            queries = self._of_sequences(query)
        for i, (g, part, own) in enumerate(zip(given, each, queries, strict=True)):
            real = self.flat.blocks[i].real
            if real is not None and not self.firsts:  # nobody reads what padding attends to
                g.view(-1, self.heads, *g.shape[1:]).mul_(real[:, None, :, None])
            self._back(g, kept[i], part, None if only_values else own)
        found = joint.index_select(0, back).view(-1, parts * grad.shape[1]).to(grad.dtype)
        if only_values or not self.firsts:
            return found, None
        return found, self._joined(query).to(grad.dtype)

    def _back(
        self, g: torch.Tensor, kept: Kept, each: torch.Tensor, query: torch.Tensor | None
    ) -> None:
        """Writes the gradients of a block's values, and of its keys and queries unless None."""
        used = kept.share if kept.mask is None else kept.share * kept.mask
        used = used.transpose(1, 2).to(g.dtype)
        each[-1].baddbmm_(used, g, beta=0, alpha=self.boost)
        if query is None:
            return
        inner = torch.bmm(g, kept.value.transpose(1, 2)).float()
        if kept.mask is not None:
            inner *= kept.mask
        inner = torch._softmax_backward_data(inner, kept.share, -1, torch.float32).to(g.dtype)
        alpha = self.boost * self.scaling
        query.baddbmm_(inner, kept.key, beta=0, alpha=alpha)
        each[-2].baddbmm_(inner.transpose(1, 2), kept.query, beta=0, alpha=alpha)

    def _by_block(self, rows: torch.Tensor, parts: int) -> list[torch.Tensor]:
        """Rows in the order of `Flat.grid` as one (parts, S * heads, L, width) for each block."""
        shapes = [(parts, len(b.places) * self.heads, b.places.shape[1]) for b in self.flat.blocks]
        pieces = rows.split([a * b * c for a, b, c in shapes])
        return [p.view(*shape, -1) for p, shape in zip(pieces, shapes, strict=True)]

    def _queries(self, rows: torch.Tensor) -> list[torch.Tensor]:
        """Rows of first tokens, (S, H), by block: (S * heads, 1, width) each."""
        ordered = rows.index_select(0, self.flat.more["order"]).to(self.dtype)
        return self._of_sequences(ordered.view(-1, rows.shape[1] // self.heads))

    def _of_sequences(self, rows: torch.Tensor) -> list[torch.Tensor]:
        pieces = rows.split([len(block.places) * self.heads for block in self.flat.blocks])
        return [piece[:, None] for piece in pieces]

    def _joined(self, rows: torch.Tensor) -> torch.Tensor:
        """(N, H), or (S, H) of first tokens, from the rows of all heads of all blocks."""
        width = self.heads * rows.shape[1]
        if self.firsts:
            return rows.view(-1, width).index_select(0, self.flat.more["rank"])
        return rows.index_select(0, self.flat.grid(self.heads)[1]).view(-1, width)
