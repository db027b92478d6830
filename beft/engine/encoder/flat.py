"""Batches without padding: all real tokens of all sequences in one row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from beft.data.encoded import Encoded
from beft.engine.noise import Noise, token_keys
from beft.engine.shares import Share

# Rows have a multiple of so many tokens: oneDNN prepares each number of rows for about 1 ms.
MULTIPLE = 16
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
    """One row of tokens; copies of the last one follow it, up to a multiple of `MULTIPLE`."""

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
    tokens: int  # of N, those of sequences
    noise: Noise | None = None  # dropout; None when it is off
    # the index arrays of `flatten` and `_blocks`, by name
    more: Mapping[str, torch.Tensor] = field(default_factory=dict, repr=False)
    _grids: dict[tuple[int, int], tuple[torch.Tensor, torch.Tensor]] = field(
        default_factory=dict, repr=False
    )
    _paddings: dict[tuple[int, int], tuple[torch.Tensor, torch.Tensor]] = field(
        default_factory=dict, repr=False
    )

    def grid(self, heads: int, parts: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
        """Two index tensors between rows (N * parts * heads, ...) and blocks.

        Parts are such as query, key and value side by side; each block holds its first part, its
        second and so on, (parts, S, heads, L, ...).

        Returns:
            Block position -> row, for the positions of all blocks; row -> block position.
        """
        if (heads, parts) not in self._grids:
            self._grids[heads, parts] = _grid(self, heads, parts)
        return self._grids[heads, parts]

    def padding(
        self, block: int, heads: int, dtype: torch.dtype
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Of a block's matrices: what is added to scores of padding, and 0 in rows of padding.

        Returns:
            (S * heads, 1, L), (S * heads, L, 1); None where there is no padding.
        """
        mask, real = self.blocks[block].mask, self.blocks[block].real
        if mask is None or real is None:
            return None, None
        if (block, heads) not in self._paddings:
            both = (mask, real[..., None])
            added, kept = (x.repeat_interleave(heads, 0).to(dtype) for x in both)
            self._paddings[block, heads] = added, kept
        return self._paddings[block, heads]

    def owner(self, rows: int) -> torch.Tensor:
        """The run of each token, (N,), or of each first token, (S,), whichever has `rows` rows."""
        return self.slots if rows == len(self.slots) else self.more["owner"]

    def sums(self, rows: torch.Tensor) -> torch.Tensor:
        """The sum over each run of rows of all tokens, or of first tokens: (R, width) float32.

        No row is multiplied: 0 * NaN of a diverging run would reach the other runs.
        """
        rows = rows[: self.tokens]
        if len(self.sequences) == 1:
            return rows.sum(0, keepdim=True, dtype=torch.float32)
        rows, steps = rows.float(), [self.more["run_sequences"]]
        if len(rows) != len(self.slots):
            # On a GPU in two steps, because a run's rows are many for one thread.
            steps = [self.first, *steps] if rows.is_cuda else [self.more["run_tokens"]]
        for starts in steps:
            every = self.more["every"][: len(rows)]
            rows = torch.embedding_bag(rows, every, starts, False, 0)[0]
        return rows

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
    starts = np.cumsum(lengths) - lengths
    counts = np.array([len(share.rows) for share in shares])
    place = np.arange(lengths.sum()) - np.repeat(starts, lengths)
    slots = np.repeat(np.arange(len(shares)), counts)
    rows = {
        "ids": np.concatenate([data.ids[row] for data, row in examples]),
        "positions": place + offset,
        "first": starts,
        "slots": slots,
        "lengths": lengths,
        "owner": np.repeat(slots, lengths),
        "every": np.arange(len(place)),
        "run_sequences": np.cumsum(counts) - counts,
        "run_tokens": starts[np.cumsum(counts) - counts],
    }
    if shares[0].data.types is not None:
        segments = [data.types[row] for data, row in examples if data.types is not None]
        rows["types"] = np.concatenate(segments)
    if seeds is not None:
        numbers = np.concatenate(
            [s.start + np.arange(n) for s, n in zip(shares, counts, strict=True)]
        )
        rows["keys"] = token_keys(np.repeat(seeds, counts), numbers, lengths)
    rows["cells"], blocks = _blocks(lengths, starts, SPLIT[device.partition(":")[0]])
    copies = -len(place) % MULTIPLE
    for name in {"ids", "positions", "types", "keys", "owner", "cells"} & set(rows):
        rows[name] = np.append(rows[name], rows[name][-1:].repeat(copies))
    rows |= blocks
    there = _moved(rows, device)
    noise = Noise(there["keys"].int(), there["first"]) if seeds is not None else None
    return Flat(
        ids=there["ids"][None],
        positions=there["positions"][None],
        types=there["types"][None] if "types" in there else None,
        blocks=[_block(there, i) for i in range(sum(n.startswith("places") for n in there))],
        cells=there["cells"],
        first=there["first"],
        slots=there["slots"],
        lengths=there["lengths"],
        sequences=counts.tolist(),
        tokens=len(place),
        noise=noise,
        more=there,
    )


def _moved(arrays: Mapping[str, np.ndarray], device: str) -> dict[str, torch.Tensor]:
    """Arrays of integers on the device, int64: copied there all at once."""
    flat = np.concatenate([a.reshape(-1).astype(np.int64, copy=False) for a in arrays.values()])
    whole = torch.from_numpy(flat)
    if device != "cpu":
        whole = whole.pin_memory().to(device, non_blocking=True)
    parts = whole.split([a.size for a in arrays.values()])
    return {
        name: part if array.ndim == 1 else part.view(array.shape)
        for (name, array), part in zip(arrays.items(), parts, strict=True)
    }


def _blocks(
    lengths: np.ndarray, starts: np.ndarray, worth: int
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Sequences by length, in as few blocks as waste little.

    Returns:
        `Flat.cells` of tokens; and by name `places0`, `real0`, `places1` and so on (real is left
        out where nothing is padding), `order`, `rank`; for each position of all blocks `tokens`,
        its index in the row, `column`, its place in its sequence, `before`, the positions of the
        blocks before its own, `size` and `width`, the positions of its block and of a sequence.
    """
    ranking = np.argsort(-lengths, kind="stable")
    found = {"order": ranking, "rank": np.argsort(ranking, kind="stable")}
    each: dict[str, list[np.ndarray]] = {}
    done, cells = 0, np.empty(lengths.sum(), np.int64)
    for i, members in enumerate(np.split(ranking, _cuts(lengths[ranking], worth))):
        length, column = lengths[members][:, None], np.arange(lengths[members[0]])
        real = column < length
        places = starts[members][:, None] + np.minimum(column, length - 1)
        cells[places[real]] = done + np.flatnonzero(real)
        own = {"tokens": places, "column": column, "before": done, "size": real.size}
        for name, value in (own | {"width": len(column)}).items():
            each.setdefault(name, []).append(np.broadcast_to(value, real.shape).reshape(-1))
        done += real.size
        found[f"places{i}"] = places
        if not real.all():
            found[f"real{i}"] = real.astype(np.int64)
    found |= {name: np.concatenate(values) for name, values in each.items()}
    return cells, found | {"every_cell": np.arange(done)}


def _block(there: Mapping[str, torch.Tensor], number: int) -> Block:
    real = there.get(f"real{number}")
    if real is None:
        return Block(there[f"places{number}"], None, None)
    return Block(there[f"places{number}"], real.bool(), real.log()[:, None])  # log(0) is -inf


def _grid(flat: Flat, heads: int, parts: int) -> tuple[torch.Tensor, torch.Tensor]:
    more = flat.more
    lanes = torch.arange(parts * heads, device=flat.cells.device)
    before, column = more["before"], more["column"]
    # A position among those of its head; the heads of a sequence, then those of a part.
    base = (more["every_cell"] + (parts - 1) * before - column) * heads + column
    position = more["size"][:, None] * (lanes // heads * heads)
    position += more["width"][:, None] * (lanes % heads)
    position += base[:, None]
    source = more["tokens"][:, None] * (parts * heads) + lanes
    there = torch.empty(position.numel(), dtype=position.dtype, device=position.device)
    there.scatter_(0, position.view(-1), source.view(-1))
    return there, position.index_select(0, flat.cells).view(-1)


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
