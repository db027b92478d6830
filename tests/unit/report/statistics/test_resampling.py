"""Resampling against scipy, against cases worked by hand, and against simulations with a truth."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from beft.report.statistics import resampling as R
from beft.tasks.metrics import sums


def test_each_resample_draws_n_examples():
    counts = R.resamples(40, "task", "validation")
    assert counts.shape == (R.RESAMPLES, 40) and (counts.sum(axis=1) == 40).all()
    # each example is drawn once on average, with the variance 39/40 of a multinomial
    assert counts.mean(axis=0) == pytest.approx(1, abs=5 * math.sqrt(1 / R.RESAMPLES))
    assert counts.var() == pytest.approx(39 / 40, rel=0.03)


def test_each_example_changes_sides_in_half_of_the_shuffles():
    chosen = R.swaps(37, "task", "validation")
    assert chosen.shape == (R.SWAPS, 37) and set(np.unique(chosen)) == {0, 1}
    assert chosen.mean(axis=0) == pytest.approx(0.5, abs=5 * 0.5 / math.sqrt(R.SWAPS))
    assert len(np.unique(chosen, axis=0)) == R.SWAPS


def test_weights_follow_from_names_alone():
    for make in (R.resamples, R.swaps):
        assert (make(9, "a", "b") == make(9, "a", "b")).all()
        assert (make(9, "a", "b") != make(9, "ab", "")).any()


def test_products_are_the_same_in_blocks(monkeypatch):
    rng = np.random.default_rng(0)
    weights, columns = R.resamples(30, "x"), rng.integers(0, 3, (4, 30, 2)).astype(np.uint8)
    expected = np.einsum("bn,rnk->rbk", weights.astype(int), columns.astype(int))
    for block in (1, 100, R.BLOCK):
        monkeypatch.setattr(R, "BLOCK", block)
        found = R.weigh(weights, columns)
        assert (found == expected).all() and found.dtype == np.float32
    assert R.weigh(weights, columns.astype(float)).dtype == np.float64


def test_an_interval_over_examples_is_scipys():
    sample = np.random.default_rng(1).exponential(size=80)  # skewed
    drawn = R.weigh(R.resamples(80, "x"), sample[None, :, None])[..., 0] / 80
    theirs = stats.bootstrap(
        (sample,), np.mean, n_resamples=20000, method="percentile", random_state=0
    ).confidence_interval
    # the end points of 2,000 resamples have an error of about 3 % of the interval
    assert R.interval(drawn) == pytest.approx(tuple(theirs), abs=0.06 * (theirs.high - theirs.low))


@pytest.mark.parametrize("runs", [5, 10, 30])
def test_an_interval_over_runs_is_students(runs):
    """Runs at normal quantiles, where Student's interval is right; 5 runs are drawn in 126 ways."""
    values = stats.norm.ppf((np.arange(runs) + 0.5) / runs) * 0.02 + 0.8
    theirs = stats.t.interval(0.95, runs - 1, values.mean(), values.std(ddof=1) / math.sqrt(runs))
    found = R.interval(np.tile(values[:, None], R.RESAMPLES))
    assert found == pytest.approx(theirs, abs=0.1 * (theirs[1] - theirs[0]))


def test_expansion_is_students_over_the_normal_interval():
    """t(0.975, 4) = 2.776 and z = 1.960 from printed tables; the bootstrap divides by n."""
    assert R.expansion(5) == pytest.approx(2.776 / 1.960 * math.sqrt(5 / 4), abs=1e-3)
    assert R.expansion(10000) == pytest.approx(1, abs=1e-3)


def simulated(rng, runs: int, n: int, of_runs: float) -> np.ndarray:
    """Right and wrong answers, (runs, n, 1): examples are hard or easy, runs are good or bad."""
    ease = rng.normal(1, 1.5, n) + rng.normal(0, of_runs, (runs, 1))
    return (ease + rng.normal(0, 0.5, (runs, n)) > 0).astype(np.uint8)[..., None]


@pytest.mark.parametrize("of_runs", [0.05, 0.4, 1.0])
@pytest.mark.parametrize("runs", [3, 5])
def test_intervals_hold_the_truth_as_often_as_they_say(runs, of_runs):
    """The truth: ease is normal with mean 1 and the sum of the variances; right is above 0.

    400 studies: the rate of an exact 95 % interval has a deviation of 1.1 points.
    """
    rng, n, studies = np.random.default_rng(5), 150, 400
    truth = stats.norm.cdf(1 / math.sqrt(1.5**2 + of_runs**2 + 0.5**2))
    drawn = R.resamples(n, "x")
    found = np.array(
        [
            R.interval(R.weigh(drawn, simulated(rng, runs, n, of_runs))[..., 0] / n)
            for _ in range(studies)
        ]
    )
    rate = ((found[:, 0] <= truth) & (truth <= found[:, 1])).mean()
    assert 0.91 <= rate <= 1


def test_an_interval_over_examples_is_no_wider_than_it_has_to_be():
    """One run of 400 examples, 80 % right: the standard error is sqrt(0.16 / 400) = 0.02."""
    column = (np.arange(400) < 320).astype(np.uint8)[None, :, None]
    low, high = R.interval(R.weigh(R.resamples(400, "x"), column)[..., 0] / 400)
    assert (low, high) == pytest.approx((0.8 - 1.96 * 0.02, 0.8 + 1.96 * 0.02), abs=0.004)


@pytest.mark.parametrize(
    "differences", [[0.1, 0.2, 0.3, 0.4, 0.5], [0.3, -0.1, 0.2, 0.05], [0, 0, 0], [-0.2, -0.1]]
)
def test_flips_are_scipys(differences):
    sample = np.array(differences)
    theirs = stats.permutation_test(
        (sample,), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    assert R.flip_test(sample) == pytest.approx(theirs.pvalue)


def test_five_runs_cannot_go_below_a_sixteenth():
    assert R.flip_test(np.array([0.1, 0.2, 0.3, 0.4, 0.5])) == 2 / 2**5 == 0.0625
    assert math.isnan(R.flip_test(np.array([0.3])))


def test_many_runs_draw_their_signs():
    """A mean of 1 deviation / sqrt(20): two-sided p of the normal approximation, 20 runs."""
    sample = stats.norm.ppf((np.arange(20) + 0.5) / 20)
    sample = sample / sample.std() / math.sqrt(20) * 2 + 2 / 20
    theirs = stats.permutation_test(
        (sample,), np.mean, permutation_type="samples", n_resamples=20000, random_state=0
    )
    assert R.flip_test(sample) == pytest.approx(theirs.pvalue, abs=0.03)


def swap_p(metric: str, first: np.ndarray, second: np.ndarray) -> float:
    """The test of (runs, n, k) columns of two techniques."""
    n = first.shape[1]
    chosen = R.swaps(n, "x")
    both = (first, second)
    return R.swap_test(
        metric,
        tuple(side.sum(axis=1, dtype=float) for side in both),
        tuple(R.weigh(chosen, side) for side in both),
        n,
    )


def test_swaps_of_one_run_are_scipys():
    """Paired values of 9 examples: all 512 shuffles are there."""
    rng = np.random.default_rng(2)
    first, second = rng.random(9), rng.random(9) - 0.25
    theirs = stats.permutation_test(
        (first, second), lambda x, y, axis: (x - y).mean(axis=axis),
        permutation_type="samples", n_resamples=np.inf,
    ).pvalue  # fmt: skip
    found = swap_p("answer_f1", first[None, :, None], second[None, :, None])
    assert found == pytest.approx(theirs, abs=3.5 * math.sqrt(theirs * (1 - theirs) / R.SWAPS))


@pytest.mark.parametrize("metric", ["f1", "matthews", "pearson"])
def test_swaps_are_those_of_whole_answers_in_all_runs(metric):
    """The same shuffles, with the metric computed from answers that changed sides by hand."""
    rng, n, runs = np.random.default_rng(3), 25, 2
    truth = rng.normal(size=n) if metric == "pearson" else rng.integers(0, 2, n)
    noise = rng.normal(size=(2, runs, n))
    if metric == "pearson":
        said = truth + noise  # compared by the columns of each whole run, as spearman is
    else:
        said = np.where(noise > [[[0.9]], [[0.4]]], 1 - truth, truth)
    columns = [
        np.stack([sums.columns(metric, said[i, r], truth) for r in range(runs)]) for i in (0, 1)
    ]

    def difference(first, second) -> float:
        ours, theirs = (sums.value(metric, side.sum(axis=1), n) for side in (first, second))
        return float((ours - theirs).mean())

    seen, hits = abs(difference(*columns)), 0
    for row in R.swaps(n, "x").astype(bool):
        mask = row[:, None]
        moved = np.where(mask, columns[1], columns[0]), np.where(mask, columns[0], columns[1])
        hits += abs(difference(*moved)) >= seen - R.EQUAL
    assert swap_p(metric, *columns) == (1 + hits) / (1 + R.SWAPS)


def paired(rng, n: int, better: float) -> tuple[np.ndarray, np.ndarray]:
    """Values of two techniques in 3 runs, alike per example; the first is better by this much."""
    ease = rng.normal(0, 1, (n, 1))
    first, second = ease + rng.normal(0, 0.6, (2, 3, n, 1))
    return first + better, second


def test_p_is_uniform_where_nothing_differs(monkeypatch):
    monkeypatch.setattr(R, "SWAPS", 999)
    rng = np.random.default_rng(4)
    found = np.array([swap_p("answer_f1", *paired(rng, 60, 0.0)) for _ in range(400)])
    assert stats.kstest(found, "uniform").pvalue > 0.01
    assert 0.025 <= (found < 0.05).mean() <= 0.08


def test_a_difference_is_found(monkeypatch):
    """Its standard error: 0.6 sqrt(2/3) / sqrt(60) = 0.063, so 0.25 is found almost always."""
    monkeypatch.setattr(R, "SWAPS", 999)
    rng = np.random.default_rng(4)
    found = np.array([swap_p("answer_f1", *paired(rng, 60, 0.25)) for _ in range(100)])
    assert (found < 0.05).mean() > 0.9


@pytest.mark.parametrize("right", [20, 40])
def test_a_p_that_no_shuffle_reaches_is_bounded_by_hoeffding(right):
    """The first alone is right in 20 (40) of 200 examples, the second nowhere.

    All signs of 20 differences must agree: the exact p is 2 / 2^20. The sum of 20 signs has the
    deviation sqrt(20), so z is sqrt(20), and the bound 2 exp(-10) is above it.
    """
    first = (np.arange(200) < right).astype(np.uint8)[None, :, None]
    found = swap_p("accuracy", first, np.zeros_like(first))
    assert 2 / 2**right < found < 1 / (1 + R.SWAPS)
    assert math.log(found) == pytest.approx(math.log(2) - right / 2, rel=0.06)


def test_equal_answers_do_not_differ():
    column = np.random.default_rng(0).integers(0, 2, (2, 50, 1)).astype(np.uint8)
    assert swap_p("accuracy", column, column) == 1


def test_holm_by_hand():
    """0.005 x 4, 0.01 x 3, 0.03 x 2, and 0.04 x 1, which may not be below the one before it."""
    assert R.holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert R.holm(np.array([0.7, 0.6])).tolist() == [1, 1]
    assert R.holm(np.array([])).tolist() == []


def test_holm_leaves_out_what_is_undefined():
    found = R.holm(np.array([0.02, math.nan, 0.03]))
    assert found[[0, 2]] == pytest.approx([0.04, 0.04]) and math.isnan(found[1])


LAWS = settings(max_examples=50, derandomize=True, deadline=None)
SIZES = st.integers(1, 40)
FRACTIONS = st.floats(-1, 1, allow_nan=False).map(lambda x: round(x, 6))


@LAWS
@given(SIZES, st.text(max_size=5))
def test_every_resample_has_as_many_examples(n, name):
    weights = R.resamples(n, name)
    assert weights.shape == (R.RESAMPLES, n) and (weights.sum(axis=1) == n).all()
    assert np.array_equal(weights, R.resamples(n, name))


@LAWS
@given(st.integers(1, 5), FRACTIONS)
def test_an_interval_of_equal_values_is_that_value(runs, value):
    values = np.full((runs, R.RESAMPLES), value)
    assert R.interval(values) == pytest.approx((value, value), abs=1e-12)


@LAWS
@given(st.lists(FRACTIONS, min_size=2, max_size=6), st.randoms(use_true_random=False))
def test_sign_flips_know_no_order_and_no_side(differences, random):
    turned = random.sample(differences, len(differences))
    p = R.flip_test(np.array(differences))
    assert 2 / 2 ** len(differences) <= p <= 1
    assert R.flip_test(np.array(turned)) == p
    assert R.flip_test(-np.array(differences)) == p


@LAWS
@given(st.lists(st.floats(0, 1) | st.just(math.nan), max_size=8), st.randoms(use_true_random=False))
def test_holm_corrects_each_test_wherever_it_stands(p_values, random):
    p_values = np.array(p_values, dtype=float)
    found = R.holm(p_values)
    assert (np.isnan(found) == np.isnan(p_values)).all()
    known = ~np.isnan(p_values)
    assert (found[known] >= p_values[known]).all() and (found[known] <= 1).all()
    order = random.sample(range(len(p_values)), len(p_values))
    assert R.holm(p_values[order]) == pytest.approx(found[order], nan_ok=True)


@LAWS
@given(st.integers(1, 6), st.integers(1, 20), st.integers(1, 3), st.randoms(use_true_random=False))
def test_sums_follow_the_order_of_runs_and_not_that_of_examples(runs, n, k, random):
    rng = np.random.default_rng(random.randrange(2**32))
    columns = rng.integers(0, 5, (runs, n, k)).astype(np.uint8)
    weights = rng.integers(0, 4, (7, n)).astype(np.uint8)
    found, order = R.weigh(weights, columns), rng.permutation(n)
    assert np.array_equal(R.weigh(weights[:, order], columns[:, order]), found)
    assert np.array_equal(R.weigh(weights, columns[::-1]), found[::-1])
    assert np.array_equal(found, np.einsum("wn,rnk->rwk", weights.astype(int), columns.astype(int)))
