"""Batches: every example once, never more tokens than allowed, no more padding than needed."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import encoded

from beft.data.encoded import Encoded
from beft.engine.batches import by_tokens, chunks, collate

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=30)
LAWS = settings(max_examples=50, derandomize=True, deadline=None)


def of_lengths(lengths: list[int]) -> Encoded:
    return Encoded([[1] * n for n in lengths], None, torch.zeros(len(lengths)))


@given(LENGTHS, st.integers(1, 200))
@LAWS
def test_by_tokens_covers_each_row_once_within_the_budget_longest_first(lengths, budget):
    batches = list(by_tokens(of_lengths(lengths), budget))
    rows = np.concatenate(batches).tolist()
    assert sorted(rows) == list(range(len(lengths)))
    assert [lengths[r] for r in rows] == sorted(lengths, reverse=True)
    sums = [sum(lengths[r] for r in batch) for batch in batches]
    assert all(s <= budget or len(b) == 1 for s, b in zip(sums, batches, strict=True))
    firsts = [lengths[batch[0]] for batch in batches[1:]]  # none would have fitted in before
    assert all(s + n > budget for s, n in zip(sums, firsts, strict=False))


@given(st.integers(0, 50), st.integers(1, 20))
@LAWS
def test_chunks_are_consecutive_and_all_but_the_last_are_full(count, size):
    rows = np.arange(count)[::-1]
    found = list(chunks(rows, size))
    assert [row for chunk in found for row in chunk] == rows.tolist()
    assert all(len(chunk) == size for chunk in found[:-1])
    assert all(0 < len(chunk) <= size for chunk in found)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=10, unique=True))
@LAWS
def test_a_padded_batch_gives_its_examples_back(rows):
    data = encoded(10, 0)
    batch = collate(data, np.array(rows), 0, "cpu")
    assert batch["input_ids"].shape == (len(rows), max(len(data.ids[r]) for r in rows))
    assert torch.equal(batch["labels"], data.labels[rows])
    for i, row in enumerate(rows):
        real = batch["attention_mask"][i].bool()
        assert batch["input_ids"][i][real].tolist() == data.ids[row]
        assert not batch["input_ids"][i][~real].any()
