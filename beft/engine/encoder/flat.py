"""Batches without padding: all real tokens of all sequences in one row."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch

from beft.data.encoded import Encoded
from beft.engine.noise import Noise, token_keys
from beft.engine.shares import Share

# Attention cells that one more block must save to be worth its overhead.
SPLIT = {"cpu": 6000, "cuda": 500_000}


@dataclass(frozen=True)
class Block:
    """Sequences of similar length, padded to (S, L) for attention."""

    # (S, L) index into the row for each position; padding repeats the last token
    places: torch.Tensor
    real: torch.Tensor | None  # (S, L) False for padding; None where there is none
    # (S, 1, L) added to attention scores, 0 or -inf; None where there is no padding
    mask: torch.Tensor | None


@dataclass(frozen=True)
class Flat:
    """One row of tokens."""

    # ids, positions, types: (1, N); `types` is None where the tokenizer gives none
    ids: torch.Tensor
    positions: torch.Tensor
    types: torch.Tensor | None
    blocks: list[Block]  # the sequences, longest first
    cells: torch.Tensor  # (N,) index of each token into the concatenated positions of all blocks
    first: torch.Tensor  # (S,) index of each sequence's first token in the row
    slots: torch.Tensor  # (S,) the run of each sequence; a run's tokens are contiguous
    lengths: torch.Tensor  # (S,) tokens of each sequence
    sequences: list[int]  # the number of sequences of each run
    noise: Noise | None = None  # dropout; None when it is off
    _grids: dict[int, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict, repr=False)

    def grid(self, heads: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Two index tensors between rows (N * heads, ...) and blocks (S, heads, L, ...).

        Returns:
            Block position -> row, for the positions of all blocks; row -> block position.
        """
        if heads not in self._grids:
            self._grids[heads] = _grid(self, heads)
        return self._grids[heads]

    def owner(self, rows: int) -> torch.Tensor:
        """The run of each token, (N,), or of each first token, (S,), whichever has `rows` rows."""
        if rows == len(self.slots):
            return self.slots
        return self._tokens_owner

    def counts(self, rows: int) -> list[torch.Tensor]:
        """Rows of each sequence, and sequences of each run; only the latter for first tokens."""
        return [self._sizes] if rows == len(self.slots) else [self.lengths, self._sizes]

    @cached_property
    def _sizes(self) -> torch.Tensor:
        return torch.tensor(self.sequences, device=self.slots.device)

    @cached_property
    def _tokens_owner(self) -> torch.Tensor:
        return self.slots.repeat_interleave(self.lengths, output_size=self.ids.shape[1])

    def inputs(self) -> dict[str, object]:
        """Arguments of the base model."""
        types = {} if self.types is None else {"token_type_ids": self.types}
        return {"input_ids": self.ids, "position_ids": self.positions, "flat": self} | types


def flatten(
    shares: Sequence[Share[Encoded]], offset: int, device: str, seeds: Sequence[int] | None = None
) -> Flat:
    """The row of these examples, in the order of the shares.

    Args:
        offset: position number of a sequence's first token.
        seeds: of each share's dropout; None leaves it off.
    """
    examples = [(share.data, row) for share in shares for row in share.rows]
    lengths = np.concatenate([share.lengths() for share in shares])
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    total = int(lengths.sum())
    counts = [len(share.rows) for share in shares]

    def tensor(values: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(values, device=device)

    types = noise = None
    if shares[0].data.types is not None:
        segments = [data.types[row] for data, row in examples if data.types is not None]
        types = tensor(np.concatenate(segments))[None]
    if seeds is not None:
        numbers = np.concatenate(
            [s.start + np.arange(n) for s, n in zip(shares, counts, strict=True)]
        )
        keys = token_keys(np.repeat(seeds, counts), numbers, lengths)
        noise = Noise(tensor(keys), tensor(starts))
    blocks, cells = _blocks(lengths, starts, device, tensor)
    return Flat(
        ids=tensor(np.concatenate([data.ids[row] for data, row in examples]))[None],
        positions=tensor(np.arange(total) - np.repeat(starts, lengths) + offset)[None],
        types=types,
        blocks=blocks,
        cells=cells,
        first=tensor(starts),
        slots=tensor(np.repeat(np.arange(len(shares)), counts)),
        lengths=tensor(lengths),
        sequences=counts,
        noise=noise,
    )


def _blocks(
    lengths: np.ndarray, starts: np.ndarray, device: str, tensor: Callable
) -> tuple[list[Block], torch.Tensor]:
    """Sequences by length, in as few blocks as waste little, and `Flat.cells`."""
    ranking = np.argsort(-lengths, kind="stable")
    blocks, cells, done = [], np.empty(int(lengths.sum()), np.int64), 0
    for members in np.split(ranking, _cuts(lengths[ranking], SPLIT[device.partition(":")[0]])):
        length, column = lengths[members][:, None], np.arange(lengths[members[0]])
        real = column < length
        places = starts[members][:, None] + np.minimum(column, length - 1)
        cells[places[real]] = done + np.flatnonzero(real)
        done += real.size
        if real.all():
            blocks.append(Block(tensor(places), None, None))
        else:
            mask = np.where(real, 0.0, -np.inf).astype(np.float32)[:, None]
            blocks.append(Block(tensor(places), tensor(real), tensor(mask)))
    return blocks, tensor(cells)


def _grid(flat: Flat, heads: int) -> tuple[torch.Tensor, torch.Tensor]:
    head = torch.arange(heads, device=flat.cells.device)
    there, back, steps, done = [], [], [], 0
    for block in flat.blocks:
        count, longest = block.places.shape
        there.append((block.places[:, None] * heads + head[:, None]).view(-1))
        cell = torch.arange(count * longest, device=head.device)
        back.append(done * heads + cell + cell // longest * longest * (heads - 1))
        steps.append(torch.full_like(cell, longest))
        done += count * longest
    first, step = torch.cat(back)[flat.cells], torch.cat(steps)[flat.cells]
    return torch.cat(there), (first[:, None] + head * step[:, None]).view(-1)


def _cuts(lengths: np.ndarray, worth: int) -> list[int]:
    """Indices of new blocks: where shorter ones save all later sequences `worth` cells or more."""
    cuts, width = [], int(lengths[0])
    for i, length in enumerate(lengths):
        if (len(lengths) - i) * (width**2 - int(length) ** 2) > worth:
            cuts.append(i)
            width = int(length)
    return cuts


def first_position(base: torch.nn.Module) -> int:
    """Number of a sequence's first position: models like RoBERTa begin after the padding's."""
    embeddings = getattr(base, "embeddings", None)
    if embeddings is None or not hasattr(embeddings, "create_position_ids_from_input_ids"):
        return 0
    return int(embeddings.padding_idx) + 1
