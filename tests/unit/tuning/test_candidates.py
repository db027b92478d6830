"""What is raced."""

import pytest

from beft.tuning.candidates import PAIRS, Candidate, candidates
from beft.tuning.targets import CLASSES, REGRESSION, UNBALANCED

V, ALL = Candidate("b_v", "mean", rate=4e-3), Candidate("all_biases", "mean", rate=1e-3)


@pytest.mark.parametrize("kind", [CLASSES, REGRESSION])
def test_only_classes_that_are_unbalanced_are_weighted(kind):
    assert not any(c.weighted for c in candidates(kind, 2))
    assert set(candidates(UNBALANCED, 2)) > set(candidates(CLASSES, 2))


def test_weights_are_tried_beside_the_plain_loss_where_a_loss_has_them():
    found = [c for c in candidates(UNBALANCED, 1) if c.weighted]
    assert [c.technique for c in found] == ["linear_probe", "b_v", "all_biases"]
    assert all(c.settings(3)["class_weights"] == "balanced" for c in found)
    assert not any(c.objective == PAIRS or c.pooling == "first" for c in found)
    assert str(found[1]) == "b_v, weighted"


def test_single_terms_cost_alike():
    q = Candidate("b_q", "mean", rate=1e-2)
    assert V.costs_as(q) and V.costs_as(V)
    assert not V.costs_as(ALL) and not V.costs_as(Candidate("b_q", "first", rate=1e-2))
    assert V.share < ALL.share
