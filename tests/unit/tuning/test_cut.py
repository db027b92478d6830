"""Cuts: no group on both sides, every row once, classes in proportion, from the content alone."""

from collections import Counter

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import assume, given
from support.fuzzing import fuzzed

from beft.errors import UserError
from beft.tuning.cut import cut, separate
from beft.tuning.examples import Examples


def made(labels, groups=None, classes=None, texts=None, named=()) -> Examples:
    n = len(labels)
    classes = tuple(map(str, range(max(labels) + 1))) if classes is None else classes
    return Examples(
        tuple((f"text {row}",) for row in range(n)) if texts is None else texts,
        np.array(labels, dtype=np.int64 if classes else np.float64),
        classes,
        np.array(range(n) if groups is None else groups, dtype=np.int64),
        np.arange(n),
        named,
    )


def sides(found, examples) -> list[int]:
    """-1 for a test row, else the fold that holds it out."""
    side = np.full(len(examples), -9)
    side[found.test] = -1
    side[found.pool] = found.folds
    assert sorted([*found.test, *found.pool]) == list(range(len(examples)))
    assert (np.diff(found.test) > 0).all() and (np.diff(found.pool) > 0).all()
    return side.tolist()


SHARES = st.sampled_from([0, 0.1, 0.2, 0.3, 0.5])
OF_GROUPS = st.sampled_from([0, 0.1, 0.2, 0.3])  # which leave five of eight groups for five folds
SEEDS = st.integers(0, 3)


@st.composite
def singles(draw) -> list[int]:
    sizes = draw(st.lists(st.integers(8, 40), min_size=2, max_size=6))
    return draw(st.permutations([label for label, size in enumerate(sizes) for _ in range(size)]))


@fuzzed
@given(singles(), SHARES, st.integers(1, 5), SEEDS)
def test_classes_in_proportion(labels, share, folds, seed):
    examples = made(labels)
    found = cut(examples, share, folds, seed)
    side, sizes = sides(found, examples), Counter(labels)
    placed = list(zip(labels, side, strict=True))
    held = [Counter(label for label, s in placed if s == fold) for fold in range(folds)]
    for label, size in sizes.items():
        tested = size - sum(fold[label] for fold in held)
        assert abs(tested - share * size) <= 1 and (tested or not share)
        assert max(fold[label] for fold in held) - min(fold[label] for fold in held) <= 1
    totals = [sum(fold.values()) for fold in held]
    assert max(totals) - min(totals) <= 1


@st.composite
def grouped(draw) -> Examples:
    labels = draw(singles())
    largest = draw(st.integers(1, len(labels)))
    groups = draw(st.lists(st.integers(0, largest), min_size=len(labels), max_size=len(labels)))
    sizes = Counter(label for label, _ in set(zip(labels, groups, strict=True)))
    assume(min(sizes.values()) >= 8)  # as `look.check` demands it
    return made(labels, groups)


@fuzzed
@given(grouped(), OF_GROUPS, st.integers(1, 5), SEEDS)
def test_groups_stay_on_one_side(examples, share, folds, seed):
    found = cut(examples, share, folds, seed)
    side = sides(found, examples)
    for group in set(examples.groups.tolist()):
        assert len({s for s, g in zip(side, examples.groups, strict=True) if g == group}) == 1
    for label in set(examples.labels.tolist()):
        where = Counter(s for s, one in zip(side, examples.labels, strict=True) if one == label)
        assert where[-1] or not share
        if folds > 1:
            assert len(where.keys() - {-1}) > 1  # in the training part of every fold
    if not share:
        assert not len(found.test)


@fuzzed
@given(grouped(), OF_GROUPS, SEEDS, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(examples, share, seed, random):
    order = list(range(len(examples)))
    random.shuffle(order)
    first = sides(cut(examples, share, 5, seed), examples)
    other = examples.take(np.array(order))
    renumbered = Examples(
        other.texts, other.labels, other.classes, other.groups * 7 % 1009, other.rows, other.named
    )
    assert sides(cut(renumbered, share, 5, seed), other) == [first[row] for row in order]


@fuzzed
@given(
    st.lists(st.floats(-5, 5) | st.sampled_from([0.0, 1.0]), min_size=40, max_size=200),
    SHARES, st.integers(1, 5), SEEDS,
)  # fmt: skip
def test_targets_of_a_regression_in_proportion(labels, share, folds, seed):
    examples = made(labels, classes=())
    found = cut(examples, share, folds, seed)
    sides(found, examples)
    assert abs(len(found.test) - share * len(labels)) <= 6
    assert np.ptp(np.bincount(found.folds, minlength=folds)) <= 1


def test_a_regression_has_low_and_high_targets_on_every_side():
    examples = made([row / 10 for row in range(300)], classes=())
    found = cut(examples, 0.2, 5)
    for part in (found.test, *(found.pool[found.folds == fold] for fold in range(5))):
        assert np.histogram(examples.labels[part], bins=[0, 10, 20, 30])[0] == pytest.approx(
            len(part) / 3, abs=2
        )


def test_another_seed_is_another_cut_and_the_same_one_the_same():
    examples = made([0, 1] * 100)
    first, again, other = (cut(examples, 0.2, 5, seed) for seed in (0, 0, 1))
    assert sides(first, examples) == sides(again, examples)
    same = np.intersect1d(first.test, other.test)
    assert 0 < len(same) < 20  # of 40; 8 by chance
    assert len(first.test) == len(other.test) == 40


def test_large_groups_leave_each_side_several_groups_of_a_class():
    """One customer has nearly all rows of a class; its other rows are spread all the same."""
    examples = made([0] * 100 + [1] * 107, [*range(100), *[100] * 100, *range(101, 108)])
    found = cut(examples, 0.2, 5)
    groups = set(examples.groups[found.pool][examples.labels[found.pool] == 1])
    assert len(groups) >= 5 and 100 in groups


@pytest.mark.parametrize(
    ("examples", "share", "folds", "message"),
    [
        (made([0, 1] * 10), 1.0, 2, "share of test rows must be at least 0 and less than 1, not 1"),
        (made([0, 1] * 10), -0.1, 2, "share of test rows"),
        (made([0, 1] * 2), 0, 5, "4 groups of rows beside the test rows cannot make 5 folds"),
        (made([0] * 10 + [1]), 0, 5, "class '1': all its rows beside the test rows would be"),
    ],
)
def test_what_cannot_be_cut_is_refused(examples, share, folds, message):
    with pytest.raises(UserError, match=message):
        cut(examples, share, folds)


def test_a_pool_loses_what_the_test_file_has():
    pool = made([0, 1, 0, 1], texts=(("A b",), ("c",), ("d",), ("e",)), named=("x", "y", "", "z"))
    test = made([1, 0], texts=(("a  B",), ("f",)), named=("", "z"))
    left, dropped = separate(pool, test)
    assert (left.texts, left.named, dropped) == ((("c",), ("d",)), ("y", ""), 2)
    left, dropped = separate(made([0, 1]), made([1, 0], texts=(("x",), ("y",))))
    assert (len(left), dropped) == (2, 0)


def test_pairs_in_another_order_are_the_same():
    pool, test = made([0], texts=(("a", "b"),)), made([0], texts=(("b", "a"),))
    assert separate(pool, test)[1] == 1
