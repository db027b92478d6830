"""Batches without padding: all real tokens of all sequences in one row."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch

from beft.engine.noise import Noise, token_keys
from beft.engine.shares import Share

# Attention cells that one more block must save to be worth its overhead.
SPLIT = {"cpu": 6000, "cuda": 500_000}


@dataclass(frozen=True)
class Block:
    """Sequences of similar length, attended to together.

    Attributes:
        places: (S, L) each cell's token in the row; behind its end, a sequence's last token again.
        real: (S, L) True where a cell is a token's own; None where all are.
        mask: (S, 1, L) what is added to attention scores, 0 or -inf; None where all are real.
    """

    places: torch.Tensor
    real: torch.Tensor | None
    mask: torch.Tensor | None


@dataclass(frozen=True)
class Flat:
    """One row of tokens.

    Attributes:
        ids, positions, types: (1, N); `types` is None where the tokenizer gives none.
        blocks: the sequences, longest first.
        cells: (N,) the cell of each token among those of all blocks, one after the other.
        first: (S,) the place of each sequence's first token.
        slots: (S,) the run of each sequence; a run's tokens are contiguous.
        lengths: (S,) of each sequence.
        sequences: per run, how many it has in the row.
        noise: dropout; None when it is off.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    types: torch.Tensor | None
    blocks: list[Block]
    cells: torch.Tensor
    first: torch.Tensor
    slots: torch.Tensor
    lengths: torch.Tensor
    sequences: list[int]
    noise: Noise | None = None
    _grids: dict[int, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict, repr=False)

    def grid(self, heads: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Where rows of tokens and heads, (N * heads, ...), stand in blocks (S, heads, L).

        Returns:
            The row of each place of all blocks, one after the other; the place of each row.
        """
        if heads not in self._grids:
            self._grids[heads] = _grid(self, heads)
        return self._grids[heads]

    def owner(self, rows: int) -> torch.Tensor:
        """The run of each token, (N,), or of each first token, (S,), by how many rows there are."""
        if rows == len(self.slots):
            return self.slots
        return self._tokens_owner

    def counts(self, rows: int) -> list[torch.Tensor]:
        """How many rows make a sequence, and sequences a run; the latter alone for first tokens."""
        return [self._sizes] if rows == len(self.slots) else [self.lengths, self._sizes]

    @cached_property
    def _sizes(self) -> torch.Tensor:
        return torch.tensor(self.sequences, device=self.slots.device)

    @cached_property
    def _tokens_owner(self) -> torch.Tensor:
        return self.slots.repeat_interleave(self.lengths, output_size=self.ids.shape[1])

    def inputs(self) -> dict:
        """Arguments of the base model."""
        given = {"input_ids": self.ids, "position_ids": self.positions, "flat": self}
        return given if self.types is None else {**given, "token_type_ids": self.types}


def flatten(
    shares: Sequence[Share], offset: int, device: str, seeds: Sequence[int] | None = None
) -> Flat:
    """The row of these examples, run after run.

    Args:
        offset: position number of a sequence's first token.
        seeds: of each share's dropout; None leaves it off.
    """
    examples = [(share.data, row) for share in shares for row in share.rows]
    lengths = np.concatenate([share.lengths() for share in shares])
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    total = int(lengths.sum())
    counts = [len(share.rows) for share in shares]

    def tensor(values) -> torch.Tensor:
        return torch.as_tensor(np.asarray(values), device=device)

    types = noise = None
    if shares[0].data.types is not None:
        types = tensor(np.concatenate([data.types[row] for data, row in examples]))[None]
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
    """Sequences by length, in as few blocks as waste little, and the cell of each token."""
    ranking = np.argsort(-lengths, kind="stable")
    blocks, cells, done = [], np.empty(int(lengths.sum()), np.int64), 0
    for members in np.split(ranking, _cuts(lengths[ranking], SPLIT[device.partition(":")[0]])):
        own, column = lengths[members][:, None], np.arange(lengths[members[0]])
        real = column < own
        places = starts[members][:, None] + np.minimum(column, own - 1)
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
    back, steps = torch.cat(back)[flat.cells], torch.cat(steps)[flat.cells]
    return torch.cat(there), (back[:, None] + head * steps[:, None]).view(-1)


def _cuts(lengths: np.ndarray, worth: int) -> list[int]:
    """Where new blocks begin: where all shorter sequences together save cells that are worth it."""
    cuts, width = [], int(lengths[0])
    for i, length in enumerate(lengths):
        if (len(lengths) - i) * (width**2 - int(length) ** 2) > worth:
            cuts.append(i)
            width = int(length)
    return cuts


def first_position(base: torch.nn.Module) -> int:
    """Number of a sequence's first position: RoBERTa's kin count from behind the padding's."""
    embeddings = getattr(base, "embeddings", None)
    counts = hasattr(embeddings, "create_position_ids_from_input_ids")
    return int(embeddings.padding_idx) + 1 if counts else 0
