"""A race is planned to fit into the minutes."""

import pytest

from beft.tuning.candidates import PAIRS, candidates
from beft.tuning.plan import EACH, Cost, Load, make_plan, seconds
from beft.tuning.targets import CLASSES, PROMPTS, REGRESSION, UNBALANCED

COST, LOAD = Cost(1.5e-4, 3e-5), Load(384, 9600, 96, 2400)


@pytest.mark.parametrize("minutes", [2, 5, 10, 60])
def test_a_plan_fits_into_the_minutes(minutes):
    assert make_plan(COST, LOAD, 5, CLASSES, minutes, 2).seconds <= 60 * minutes


def test_more_minutes_never_make_a_poorer_plan():
    plans = [make_plan(COST, LOAD, 5, CLASSES, m, 2) for m in (0.1, 0.5, 1, 2, 4, 8, 16, 32)]
    richness = [(p.rates, p.epochs) for p in plans]
    assert richness == sorted(richness)
    assert richness[0] < richness[-1]


@pytest.mark.parametrize("minutes", [3, 5, 8, 12])
def test_time_that_is_left_goes_to_more_finalists(minutes):
    assert make_plan(COST, LOAD, 5, CLASSES, minutes, 2).seconds >= 0.7 * 60 * minutes


def test_a_plan_has_no_more_finalists_than_there_are_candidates():
    plan = make_plan(COST, LOAD, 5, REGRESSION, 10_000, 2)
    assert plan.finalists == len(candidates(REGRESSION, plan.rates)) and plan.cut == ""


def test_what_minutes_cut_is_said():
    assert make_plan(COST, LOAD, 5, CLASSES, 0.1, 2).cut == (
        "3 of 10 ways, 1 of 4 rates, 2 of 3 ways on all folds, 2 of 10 epochs"
    )


def test_little_time_goes_to_the_likeliest_ways():
    """Enough epochs of few ways, not a glance at all of them."""
    plan = make_plan(COST, LOAD, 5, CLASSES, 1, 2)
    assert [str(c) for c in plan.every(CLASSES)] == ["linear probe", "b_v", "all biases"]
    assert plan.runs(CLASSES) == plan.first_folds * 3 + 5 * plan.finalists


@pytest.mark.parametrize("kind", [CLASSES, UNBALANCED, REGRESSION, PROMPTS])
def test_the_likeliest_ways_are_raced_of_any_kind_of_task(kind):
    few = candidates(kind, 2, 3)
    assert {c.technique for c in few if c.trains} == {"b_v", "all_biases"}
    assert any(not c.trains for c in few) and set(few) < set(candidates(kind, 2))


def test_the_least_plan_is_made_where_nothing_fits():
    plan = make_plan(COST, Load(400_000, 10**8, 100_000, 10**7), 5, CLASSES, 0.1, 1)
    assert (plan.rates, plan.finalists) == (1, 2)
    assert plan.seconds > 6
    assert min(plan.first_epochs, plan.epochs) >= 1


def test_few_held_out_rows_are_looked_at_in_more_folds():
    assert make_plan(COST, Load(64, 1600, 16, 400), 5, CLASSES, 10, 2).first_folds == 5
    assert make_plan(COST, Load(4000, 10**5, 1000, 25_000), 5, CLASSES, 60, 2).first_folds == 1


def test_few_rows_are_seen_more_often():
    few = make_plan(COST, Load(64, 1600, 16, 400), 5, CLASSES, 60, 2)
    many = make_plan(COST, Load(1600, 40_000, 400, 10_000), 5, CLASSES, 600, 2)
    assert few.epochs > many.epochs


def test_time_grows_with_epochs_and_the_probe_reads_each_row_once():
    every = {str(c): c for c in candidates(CLASSES, 1)}
    one, two = (seconds(every["b_v"], epochs, LOAD, COST) for epochs in (1, 2))
    assert two - EACH == pytest.approx(2 * (one - EACH))
    assert seconds(every["linear probe"], 5, LOAD, COST) == pytest.approx(EACH + 12_000 * 3e-5)


def test_pairs_are_raced_for_classes_alone():
    assert any(c.objective == PAIRS for c in candidates(CLASSES, 2))
    assert not any(c.objective == PAIRS for c in candidates(REGRESSION, 2))


def test_rates_of_a_shorter_grid_are_those_of_a_longer_one():
    assert set(candidates(CLASSES, 2)) <= set(candidates(CLASSES, 4))
