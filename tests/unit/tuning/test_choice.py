"""Choosing among candidates by held-out folds."""

import math
from dataclasses import replace

import numpy as np
import pytest

from beft.tuning.candidates import PAIRS, Candidate
from beft.tuning.choice import Outcome, choose, difference, outcome

PROBE = Candidate("linear_probe", "mean")
V = Candidate("b_v", "mean", rate=4e-3)
Q = Candidate("b_q", "mean", rate=4e-3)
ALL = Candidate("all_biases", "mean", rate=4e-3)


def of(candidate, *values):
    return Outcome(candidate, 3, values)


def test_the_epoch_is_that_of_the_best_mean_over_folds():
    curves = [{1: 0.5, 2: 0.9, 3: 0.6}, {1: 0.5, 2: 0.4, 3: 0.8}]
    assert outcome(V, curves) == Outcome(V, 3, (0.6, 0.8))


def test_of_equal_epochs_the_earliest_is_taken():
    assert outcome(V, [{1: 0.5, 2: 0.7, 3: 0.7}]).epoch == 2


def test_an_undefined_metric_counts_as_the_worst():
    assert outcome(V, [{1: math.nan, 2: -0.5}]) == Outcome(V, 2, (-0.5,))


def test_the_interval_is_that_of_nadeau_and_bengio():
    """Differences 1, 2, 3, 4, 5 hundredths: variance 2.5e-4, times 1/5 + 1/4; t of 4 is 2.776."""
    found = difference(of(V, *np.linspace(0.51, 0.55, 5)), of(Q, *[0.5] * 5), held_out=0.25)
    assert found.mean == pytest.approx(0.03)
    assert found.error == pytest.approx(math.sqrt(2.5e-4 * 0.45))
    assert found.high - found.mean == pytest.approx(2.776445 * found.error, rel=1e-6)
    assert found.mean - found.low == pytest.approx(found.high - found.mean)
    assert found.is_level == (found.low <= 0)


def test_one_fold_tells_no_candidates_apart():
    assert difference(of(V, 0.9), of(Q, 0.1), held_out=0.25).is_level


def test_a_clear_winner_is_chosen():
    best = of(ALL, 0.80, 0.81, 0.82, 0.80, 0.81)
    assert choose([of(PROBE, 0.70, 0.71, 0.72, 0.70, 0.71), best], 0.25) is best


def test_the_best_mean_wins_though_something_cheaper_is_not_separated_from_it():
    """Differences of +-0.1 have a standard error far above their mean of 0.02."""
    every = of(ALL, 0.8, 0.8, 0.8, 0.8, 0.8)
    for cheap in (V, PROBE):
        assert choose([of(cheap, 0.7, 0.9, 0.7, 0.9, 0.7), every], 0.25) is every


def test_a_term_is_replaced_by_an_earlier_one_within_one_standard_error():
    v, q = of(V, 0.7, 0.9, 0.7, 0.9, 0.7), of(Q, 0.8, 0.8, 0.8, 0.8, 0.8)
    assert choose([q, v], 0.25) is v
    assert choose([q, of(V, 0.7, 0.7, 0.7, 0.7, 0.71)], 0.25) is q


@pytest.mark.parametrize(
    "other", [replace(V, pooling="first"), replace(V, objective=PAIRS), replace(V, weighted=True)]
)
def test_a_term_is_not_replaced_by_one_that_is_tuned_in_another_way(other):
    best = of(Q, 0.8, 0.8, 0.8, 0.8, 0.8)
    assert choose([of(other, 0.7, 0.9, 0.7, 0.9, 0.7), best], 0.25) is best


def test_of_earlier_terms_the_rate_with_the_best_mean_is_taken():
    q = of(Q, 0.8, 0.8, 0.8, 0.8, 0.8)
    low, high = of(V, 0.7, 0.9, 0.7, 0.9, 0.7), of(replace(V, rate=1e-2), 0.7, 0.9, 0.7, 0.9, 0.75)
    assert choose([q, low, high], 0.25) is high


def test_at_equal_means_v_comes_before_q():
    assert choose([of(Q, 0.7, 0.8), of(V, 0.7, 0.8)], 0.25).candidate == V


def test_equal_ways_at_equal_means_prefer_the_plain_loss_and_mean_pooling():
    pairs, first = Candidate("b_v", "mean", PAIRS, 1e-2), Candidate("b_v", "first", rate=1e-2)
    for order in ([pairs, first, V], [V, first, pairs]):
        assert choose([of(c, 0.7, 0.8) for c in order], 0.25).candidate == V


def test_a_probe_of_the_best_mean_is_chosen():
    probe = of(PROBE, 0.75, 0.76, 0.74)
    assert choose([of(V, 0.74, 0.77, 0.73), probe], 0.5) is probe
    assert choose([of(V, 0.75, 0.76, 0.74), probe], 0.5) is probe
