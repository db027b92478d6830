"""The finalists of a race."""

from dataclasses import replace

from beft.tuning.candidates import Candidate
from beft.tuning.choice import Outcome
from beft.tuning.race import best_of_each

PROBE = Candidate("linear_probe", "mean")
V, Q = (Candidate(term, "mean", rate=4e-3) for term in ("b_v", "b_q"))
V2 = replace(V, rate=1e-2)
MEANS = {V: 0.8, V2: 0.79, Q: 0.7, PROBE: 0.6}
OUTCOMES = [Outcome(candidate, 1, (mean,)) for candidate, mean in reversed(MEANS.items())]


def test_finalists_are_the_best_rates_of_the_best_ways_and_the_probe():
    assert best_of_each(OUTCOMES, 2) == [V, PROBE]
    assert best_of_each(OUTCOMES, 3) == [V, Q, PROBE]


def test_when_all_ways_are_in_their_next_best_rates_follow():
    assert best_of_each(OUTCOMES, 4) == [V, Q, V2, PROBE]
    assert best_of_each(OUTCOMES, 99) == [V, Q, V2, PROBE]


def test_what_trains_nothing_is_always_a_finalist():
    assert best_of_each(OUTCOMES, 1) == [V, PROBE]
