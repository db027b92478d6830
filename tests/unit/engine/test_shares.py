"""Passes over batches: every example once, in order, and never more tokens than fit."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from beft.data.encoded import Encoded
from beft.engine.shares import Share, take


def shares(batches: list[list[int]]) -> list[Share]:
    """One share per run, with sequences of these lengths."""
    made = []
    for run, lengths in enumerate(batches):
        data = Encoded([[1] * n for n in lengths], None, torch.zeros(len(lengths)))
        made.append(Share(run, data, np.arange(len(lengths))))
    return made


def passes(todo: list[Share], tokens: int) -> list[list[Share]]:
    done = []
    while todo:
        chunk, todo = take(todo, tokens)
        done.append(chunk)
    return done


@given(
    st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=8), min_size=1, max_size=5),
    st.integers(1, 200),
)
@settings(max_examples=50, derandomize=True, deadline=None)
def test_everything_once_and_within_the_limit(batches, tokens):
    done = passes(shares(batches), tokens)
    seen = [(s.run, s.start + i) for chunk in done for s in chunk for i in range(len(s.rows))]
    assert seen == [(run, i) for run, lengths in enumerate(batches) for i in range(len(lengths))]
    for chunk in done:
        assert sum(int(s.lengths().sum()) for s in chunk) <= tokens or (
            len(chunk) == 1 and len(chunk[0].rows) == 1
        )
        assert len({s.run for s in chunk}) == len(chunk)
    for run, lengths in enumerate(batches):
        parts = [s for chunk in done for s in chunk if s.run == run]
        assert sum(s.weight for s in parts) == pytest.approx(1)
        assert all(s.weight == pytest.approx(len(s.rows) / len(lengths)) for s in parts)


def test_whole_batches_stay_whole_where_they_fit():
    done = passes(shares([[10, 10], [15], [30]]), 40)
    assert [[s.run for s in chunk] for chunk in done] == [[0, 1], [2]]
    assert {s.weight for chunk in done for s in chunk} == {1.0}
