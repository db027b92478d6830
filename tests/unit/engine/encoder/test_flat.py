"""Rows of tokens and their inverse: nothing is lost, nothing is doubled, padding is told apart."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from beft.data.encoded import Encoded
from beft.engine.encoder import flat as module
from beft.engine.encoder.flat import Flat, flatten
from beft.engine.shares import Share

# Runs of sequences of these lengths; some differ so much that they need several blocks.
BATCHES = st.lists(
    st.lists(st.one_of(st.integers(1, 6), st.integers(60, 130)), min_size=1, max_size=6),
    min_size=1,
    max_size=3,
)
LAWS = settings(max_examples=50, derandomize=True, deadline=None)


def made(batches: list[list[int]]) -> tuple[Flat, list[list[int]]]:
    """A row whose tokens are all different, and its sequences."""
    sequences, shares, start = [], [], 0
    for run, lengths in enumerate(batches):
        starts = start + np.cumsum([0, *lengths])
        ids = [list(range(s, s + n)) for s, n in zip(starts, lengths, strict=False)]
        start = int(starts[-1])
        data = Encoded(ids, [[run] * n for n in lengths], torch.zeros(len(ids)))
        shares.append(Share(run, data, np.arange(len(ids))[::-1]))
        sequences += ids[::-1]
    return flatten(shares, 2, "cpu"), sequences


@given(BATCHES)
@LAWS
def test_the_row_holds_every_sequence_whole_and_in_order(batches):
    flat, sequences = made(batches)
    tokens = [token for sequence in sequences for token in sequence]
    copies = -len(tokens) % 16
    assert flat.tokens == len(tokens)
    assert flat.ids[0].tolist() == tokens + tokens[-1:] * copies
    assert flat.ids[0][flat.first].tolist() == [sequence[0] for sequence in sequences]
    assert flat.lengths.tolist() == [len(sequence) for sequence in sequences]
    positions = [2 + i for s in sequences for i in range(len(s))]
    assert flat.positions[0].tolist() == positions + positions[-1:] * copies
    owner = [run for run, lengths in enumerate(batches) for _ in range(sum(lengths))]
    owner += owner[-1:] * copies
    assert flat.owner(len(owner)).tolist() == flat.types[0].tolist() == owner
    assert flat.sequences == [len(lengths) for lengths in batches]


@given(BATCHES)
@LAWS
def test_blocks_hold_every_sequence_once_and_cells_lead_back(batches):
    flat, sequences = made(batches)
    found, cells = [], []
    for block in flat.blocks:
        ids = flat.ids[0][block.places]
        cells.append(ids.flatten())
        real = torch.ones_like(ids, dtype=torch.bool) if block.real is None else block.real
        for row, kept in zip(ids, real, strict=True):
            found.append(row[kept].tolist())
            assert set(row[~kept].tolist()) <= {found[-1][-1]}  # padding repeats the last token
        if block.mask is not None:
            assert torch.equal(block.mask[:, 0] == 0, real)
    assert sorted(found) == sorted(sequences)
    assert torch.equal(torch.cat(cells)[flat.cells], flat.ids[0])


def rows_of(flat: Flat, lanes: int) -> torch.Tensor:
    """The rows of each token's lanes; those of the last token for its copies."""
    tokens = torch.arange(flat.ids.numel()).clamp(max=flat.tokens - 1)
    return tokens[:, None] * lanes + torch.arange(lanes)


@given(BATCHES, st.integers(1, 4))
@LAWS
def test_the_two_tables_of_heads_are_inverse(batches, heads):
    flat, _ = made(batches)
    there, back = flat.grid(heads)
    assert torch.equal(there[back].view(-1, heads), rows_of(flat, heads))
    done = 0
    for block in flat.blocks:  # (S, heads, L): a head's positions stand together
        count, longest = block.places.shape
        size = count * heads * longest
        part = there[done : done + size].view(count, heads, longest)
        assert torch.equal(part // heads, block.places[:, None].expand_as(part))
        assert torch.equal(part % heads, torch.arange(heads)[:, None].expand_as(part))
        done += size
    assert done == len(there)


@given(BATCHES)
@LAWS
def test_one_block_more_is_made_only_where_it_saves_enough(batches):
    flat, sequences = made(batches)
    widths = [block.places.shape[1] for block in flat.blocks]
    assert widths == sorted(widths, reverse=True)
    left = len(sequences)
    for block, width, following in zip(flat.blocks, widths, widths[1:], strict=False):
        left -= len(block.places)
        assert left * (width**2 - following**2) > module.SPLIT["cpu"]


@given(BATCHES, st.integers(1, 3), st.integers(2, 3))
@LAWS
def test_parts_stand_one_after_the_other_in_each_block(batches, heads, parts):
    flat, _ = made(batches)
    there, back = flat.grid(heads, parts)
    assert torch.equal(there[back].view(-1, heads * parts), rows_of(flat, heads * parts))
    one, done = flat.grid(heads)[0], 0
    for block in flat.blocks:
        size = block.places.numel() * heads
        part = there[done * parts : (done + size) * parts].view(parts, size)
        alone = one[done : done + size]
        for i in range(parts):
            expected = alone // heads * heads * parts + i * heads + alone % heads
            assert torch.equal(part[i], expected)
        done += size


@given(BATCHES)
@LAWS
def test_sums_of_runs_are_those_of_their_rows(batches):
    flat, _ = made(batches)
    for count in (flat.ids.numel(), len(flat.slots)):
        rows = torch.arange(2.0 * count).view(count, 2)
        owner = flat.owner(count)[: flat.tokens]
        rows[flat.tokens :] = float("nan")  # copies of the last token count for nobody
        real = rows[: len(owner)]
        expected = torch.stack([real[owner == run].sum(0) for run in range(len(batches))])
        assert torch.equal(flat.sums(rows), expected)
        real[owner == 0] = float("nan")
        assert torch.equal(flat.sums(rows)[1:], expected[1:])
