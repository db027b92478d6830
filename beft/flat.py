"""Batches without padding: all real tokens of all sequences in one row; only attention sees which
belong together."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface

from beft.batches import Encoded

IMPLEMENTATION = "beft_flat"
SIMILAR = 0.8  # of a block's longest sequence: little padding, and not many small blocks


@dataclass
class Noise:
    """The random streams of dropout, one per run, so that no run's depends on its neighbours.

    Attributes:
        streams: one per run of the batch.
        run: the run that a head is computed for; None inside the encoder, where a row holds all.
    """

    streams: list[np.random.Generator]
    run: int | None = None

    def keep(self, counts: Sequence[int], shape: Sequence[int], p: float) -> torch.Tensor:
        """Dropout factors, 0 or 1 / (1 - p): (sum of counts, *shape), each run's rows its own.

        Drawn as 16-bit integers, several times faster than uniform floats; p is rounded to a
        multiple of 2**-16.
        """
        limit = round(p * 2**16)
        draws = [
            stream.integers(0, 2**16, (count, *shape), dtype=np.uint16) >= limit
            for stream, count in zip(self.streams, counts, strict=True)
        ]
        kept = torch.from_numpy(draws[0] if len(draws) == 1 else np.concatenate(draws))
        return kept.float().mul_(2**16 / (2**16 - limit))


def stream(seed: int) -> np.random.Generator:
    """A run's random stream for one step."""
    return np.random.Generator(np.random.SFC64(seed))


@dataclass(frozen=True)
class Block:
    """Sequences of similar length, attended to together.

    Attributes:
        sequences: their numbers in the row's order.
        lengths: of each.
        mask: (S, 1, 1, L) True at real tokens; None where all are.
        longest: L.
    """

    sequences: list[int]
    lengths: list[int]
    mask: torch.Tensor | None
    longest: int

    @property
    def cells(self) -> int:
        """Tokens and padding together."""
        return len(self.sequences) * self.longest


@dataclass(frozen=True)
class Flat:
    """One row of tokens.

    Attributes:
        ids, positions, types: (1, N); `types` is None where the tokenizer gives none.
        grid: (G,) the place in the row of each cell of all blocks, one after the other; N where
            a cell is empty.
        cells: (N,) the inverse: the cell of each token.
        blocks: the sequences, longest first.
        first: (S,) the place of each sequence's first token.
        owner: the run of each sequence.
        tokens, sequences: per run, how many it has in the row. A run's tokens are contiguous.
        noise: dropout's random streams; None when dropout is off.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    types: torch.Tensor | None
    grid: torch.Tensor
    cells: torch.Tensor
    blocks: list[Block]
    first: torch.Tensor
    owner: list[int]
    tokens: list[int]
    sequences: list[int]
    noise: Noise | None = field(default=None, compare=False)

    def inputs(self) -> dict:
        """Arguments of the base model."""
        given = {"input_ids": self.ids, "position_ids": self.positions, "flat": self}
        return given if self.types is None else {**given, "token_type_ids": self.types}


def flatten(
    runs: Sequence[tuple[Encoded, np.ndarray]], offset: int, device: str, noise: Noise | None = None
) -> Flat:
    """The row of these rows of examples, run after run.

    Args:
        runs: (examples, rows) of each run.
        offset: position number of a sequence's first token.
    """
    ids = [data.ids[r] for data, rows in runs for r in rows]
    lengths = np.array([len(i) for i in ids])
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    total = int(lengths.sum())
    place = np.arange(total) - np.repeat(starts, lengths)
    blocks, grid = _blocks(lengths, starts, device)
    cells = np.empty(total, dtype=np.int64)
    full = np.flatnonzero(grid < total)
    cells[grid[full]] = full
    types = None
    if runs[0][0].types is not None:
        types = np.concatenate([data.types[r] for data, rows in runs for r in rows])
    counts = [len(rows) for _, rows in runs]
    owner = np.repeat(np.arange(len(runs)), counts)

    def tensor(values) -> torch.Tensor:
        return torch.as_tensor(np.asarray(values), device=device)

    return Flat(
        ids=tensor(np.concatenate(ids))[None],
        positions=tensor(place + offset)[None],
        types=None if types is None else tensor(types)[None],
        grid=tensor(grid),
        cells=tensor(cells),
        blocks=blocks,
        first=tensor(starts),
        owner=owner.tolist(),
        tokens=np.bincount(owner, weights=lengths).astype(int).tolist(),
        sequences=counts,
        noise=noise,
    )


def _blocks(lengths: np.ndarray, starts: np.ndarray, device: str) -> tuple[list[Block], np.ndarray]:
    """Sequences by length, in blocks whose shortest is at least `SIMILAR` of the longest."""
    ranking = np.argsort(-lengths, kind="stable")
    total = int(lengths.sum())
    blocks, grids, begin = [], [], 0
    while begin < len(ranking):
        width = int(lengths[ranking[begin]])
        end = begin + int((lengths[ranking[begin:]] >= SIMILAR * width).sum())
        members = ranking[begin:end]
        column = np.arange(width)
        real = column < lengths[members][:, None]
        grids.append(np.where(real, starts[members][:, None] + column, total).ravel())
        mask = None if real.all() else torch.as_tensor(real[:, None, None, :], device=device)
        blocks.append(Block(members.tolist(), lengths[members].tolist(), mask, width))
        begin = end
    return blocks, np.concatenate(grids)


def first_position(base: torch.nn.Module) -> int:
    """Number of a sequence's first position: RoBERTa's kin count from behind the padding's."""
    embeddings = getattr(base, "embeddings", None)
    counts = hasattr(embeddings, "create_position_ids_from_input_ids")
    return int(embeddings.padding_idx) + 1 if counts else 0


class _Move(torch.autograd.Function):
    """Rows of x (n, ...) at `there`, zeros where `there` is n; `back` is the inverse."""

    @staticmethod
    def forward(ctx, x, there, back):
        ctx.save_for_backward(back)
        ctx.rows = len(there)
        return _rows(x, there)

    @staticmethod
    def backward(ctx, grad):
        return _rows(grad, ctx.saved_tensors[0]), None, None


def _rows(x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    return pad(x, (0, 0, 0, 1))[index] if len(index) > len(x) else x[index]


def attention(
    module, query, key, value, attention_mask, flat: Flat, scaling=None, dropout=0.0, **_
):
    """Attention over a row: regroups into sequences, attends, and makes a row again.

    Args:
        query, key, value: (1, heads, N, width of a head).
        flat: which tokens belong together.
        dropout: of the attention probabilities.

    Returns:
        (1, N, heads, width), None
    """
    _, heads, total, width = query.shape
    sizes = [block.cells for block in flat.blocks]

    def spread(x):
        rows = x[0].transpose(0, 1).reshape(total, heads * width)
        return _Move.apply(rows, flat.grid, flat.cells).split(sizes)

    outputs = []
    for block, *rows in zip(flat.blocks, *map(spread, (query, key, value)), strict=True):
        shape = (len(block.sequences), -1, heads, width)
        q, k, v = (r.view(shape).transpose(1, 2) for r in rows)  # (S, heads, L, width)
        out = _attend(q, k, v, block, flat, scaling, dropout)
        outputs.append(out.transpose(1, 2).reshape(block.cells, heads * width))
    row = _Move.apply(torch.cat(outputs), flat.cells, flat.grid)
    return row.view(1, total, heads, width), None


def _attend(q, k, v, block: Block, flat: Flat, scaling: float, dropout: float) -> torch.Tensor:
    mask = block.mask
    if not dropout or flat.noise is None:
        return scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scaling)
    scores = (q * scaling) @ k.transpose(2, 3)
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    shares = torch.softmax(scores, dim=-1, dtype=torch.float32)
    return (shares * _kept_shares(block, flat, q.shape[1], dropout)).to(v.dtype) @ v


def _kept_shares(block: Block, flat: Flat, heads: int, p: float) -> torch.Tensor:
    """Dropout factors of attention (S, heads, L, L), each sequence's from its run's stream.

    A run's own sequences come in the same order whatever other runs are in the row.
    """
    factors = torch.zeros(len(block.sequences), heads, block.longest, block.longest)
    for i, (sequence, size) in enumerate(zip(block.sequences, block.lengths, strict=True)):
        own = Noise([flat.noise.streams[flat.owner[sequence]]])
        factors[i, :, :size, :size] = own.keep([heads], (size, size), p)
    return factors.to(flat.grid.device)


AttentionInterface.register(IMPLEMENTATION, attention)
