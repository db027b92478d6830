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
class Flat:
    """One row of tokens.

    Attributes:
        ids, positions, types: (1, N); `types` is None where the tokenizer gives none.
        grid: (S * L,) the place in the row of each cell of a padded (S, L) batch; N where empty.
        cells: (N,) the inverse: the cell of each token.
        mask: (S, 1, 1, L) True at real tokens.
        first: (S,) the place of each sequence's first token.
        tokens, sequences, longest: per run, how many tokens and sequences it has in the row, and
            the length of its longest sequence. A run's tokens are contiguous.
        noise: dropout's random streams; None when dropout is off.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    types: torch.Tensor | None
    grid: torch.Tensor
    cells: torch.Tensor
    mask: torch.Tensor
    first: torch.Tensor
    tokens: list[int]
    sequences: list[int]
    longest: list[int]
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
    total, width = int(lengths.sum()), int(lengths.max())
    sequence = np.repeat(np.arange(len(ids)), lengths)
    place = np.arange(total) - starts[sequence]
    cells = sequence * width + place
    grid = np.full(len(ids) * width, total)
    grid[cells] = np.arange(total)
    types = None
    if runs[0][0].types is not None:
        types = np.concatenate([data.types[r] for data, rows in runs for r in rows])
    counts = [len(rows) for _, rows in runs]
    ends = np.cumsum(counts)
    split = [lengths[e - c : e] for c, e in zip(counts, ends, strict=True)]

    def tensor(values) -> torch.Tensor:
        return torch.as_tensor(np.asarray(values), device=device)

    return Flat(
        ids=tensor(np.concatenate(ids))[None],
        positions=tensor(place + offset)[None],
        types=None if types is None else tensor(types)[None],
        grid=tensor(grid),
        cells=tensor(cells),
        mask=tensor((grid < total).reshape(len(ids), 1, 1, width)),
        first=tensor(starts),
        tokens=[int(s.sum()) for s in split],
        sequences=counts,
        longest=[int(s.max()) for s in split],
        noise=noise,
    )


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
    count, longest = flat.mask.shape[0], flat.mask.shape[-1]

    def spread(x):
        rows = x[0].transpose(0, 1).reshape(total, heads * width)
        return (
            _Move.apply(rows, flat.grid, flat.cells).view(count, longest, heads, -1).transpose(1, 2)
        )

    q, k, v = spread(query), spread(key), spread(value)
    if dropout and flat.noise is not None:
        scores = (q * scaling) @ k.transpose(2, 3)
        scores = scores.masked_fill(~flat.mask, torch.finfo(scores.dtype).min)
        shares = torch.softmax(scores, dim=-1, dtype=torch.float32)
        out = (shares * _kept_shares(flat, heads, dropout)).to(v.dtype) @ v
    else:
        out = scaled_dot_product_attention(q, k, v, attn_mask=flat.mask, scale=scaling)
    out = out.transpose(1, 2).reshape(count * longest, heads * width)
    return _Move.apply(out, flat.cells, flat.grid).view(1, total, heads, width), None


def _kept_shares(flat: Flat, heads: int, p: float) -> torch.Tensor:
    """Dropout factors of attention (S, heads, L, L); a run's do not depend on others' lengths."""
    longest = flat.mask.shape[-1]
    factors = torch.zeros(flat.mask.shape[0], heads, longest, longest)
    start = 0
    for run, (count, size) in enumerate(zip(flat.sequences, flat.longest, strict=True)):
        own = Noise([flat.noise.streams[run]]).keep([count], (heads, size, size), p)
        factors[start : start + count, :, :size, :size] = own
        start += count
    return factors.to(flat.mask.device)


AttentionInterface.register(IMPLEMENTATION, attention)
