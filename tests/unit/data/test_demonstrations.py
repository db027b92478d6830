"""Which demonstrations precede a prompt: as many as fit, counted against every other choice."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beft.data.demonstrations import draw, fitting
from beft.tasks.words import Words


@pytest.mark.parametrize(
    ("lengths", "left", "places"),
    [
        ([5, 5, 5], 15, [0, 1, 2]),
        ([5, 5, 5], 14, [0, 1]),  # equally long: the first ones
        ([9, 2, 3], 5, [1, 2]),
        ([3, 9, 2], 5, [0, 2]),  # what does not fit between them stops nothing
        ([2, 3, 9], 9, [0, 1]),
        ([9, 2, 3], 1, []),
        ([9, 2, 3], 0, []),
        ([9, 2, 3], -4, []),
        ([], 10, []),
    ],
)
def test_as_many_as_fit_in_their_order(lengths, left, places):
    assert fitting(lengths, left) == places


@given(st.lists(st.integers(1, 9), max_size=7), st.integers(-3, 40))
def test_no_other_choice_holds_more(lengths, left):
    chosen = fitting(lengths, left)
    assert chosen == sorted(set(chosen)) and sum(lengths[p] for p in chosen) <= max(left, 0)
    sizes = [n for n in range(len(lengths) + 1) for c in combinations(lengths, n) if sum(c) <= left]
    assert len(chosen) == max(sizes, default=0)
    # a prompt with more room has the same ones, and more
    assert set(chosen) <= set(fitting(lengths, left + 1))


def test_the_seed_decides_the_order_and_the_subset_which_ones():
    train = [Words("", str(i), "", (" a",), (0,)) for i in range(9)]
    first, again, other = draw(train, 5, 0), draw(train, 5, 0), draw(train, 5, 1)
    assert first == again != other
    assert sorted(w.passage for w in first) == sorted(w.passage for w in other) == list("01234")
    assert len(draw(train[:2], 5, 0)) == 2
