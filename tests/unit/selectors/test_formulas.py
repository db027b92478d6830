"""Selectors: hand-computed vectors, the paper's formulas in plain Python, and every edge case."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from beft.selectors import formulas

NAN, INF = math.nan, math.inf
SEEDS = range(5)
PAIR_SELECTORS = [formulas.projection, formulas.projection_printed, formulas.magnitude]


def random_pair(seed, layers=3, width=7):
    rng = np.random.default_rng(seed)
    pre = rng.normal(size=(layers, width))
    # Steps from tiny to larger than the bias itself: both case equations and obtuse angles occur.
    step = rng.normal(size=(layers, width)) * 10.0 ** rng.uniform(-2, 1, size=(layers, 1))
    return pre, pre + step


# One vector per row: pre, post, projection, projection printed without the square, L1 magnitude.
HAND = {
    # |pre| = |post| = 5, <pre, post> = 12 + 12 = 24: 1 - 24/25, 1 - 24/5, |1| + |-1|
    "equal length": ([3, 4], [4, 3], 0.04, -3.8, 2),
    # |pre| = 5 is longer, <pre, post> = 3: 1 - 3/25, 1 - 3/5, |-2| + |-4|
    "shrunk": ([3, 4], [1, 0], 0.88, 0.4, 6),
    # the same pair the other way round: post is now the longer one
    "grown": ([1, 0], [3, 4], 0.88, 0.4, 6),
    # halved along itself: 1 - 0.5, and <pre, post> = 50, max = 10: 1 - 5, |3| + |4|
    "halved": ([6, 8], [3, 4], 0.5, -4, 7),
    # <pre, post> = 25, max = 5: 1 - 25/25, 1 - 25/5
    "unchanged": ([3, 4], [3, 4], 0, -4, 0),
    # <pre, post> = -12 + 12 = 0 whatever the lengths; |-7| + |-1|
    "right angle": ([3, 4], [-4, 3], 1, 1, 8),
    # <pre, post> = -2, max squared 4: 1 + 2/4, 1 + 2/2, |-3|
    "obtuse": ([1, 0], [-2, 0], 1.5, 2, 3),
    # opposite and equally long, the largest score there is: 1 + 25/25, 1 + 25/5, 6 + 8
    "opposite": ([3, 4], [-3, -4], 2, 6, 14),
    # a bias that was added to a bias-free model: the product is 0, the maximum is not
    "pre zero": ([0, 0], [3, 4], 1, 1, 7),
    "post zero": ([3, 4], [0, 0], 1, 1, 7),
    # 0/0; nothing moved, so the magnitude is still a number
    "both zero": ([0, 0], [0, 0], NAN, NAN, 0),
    "nan in post": ([3, 4], [NAN, 3], NAN, NAN, NAN),
    "nan in pre": ([NAN, 4], [4, 3], NAN, NAN, NAN),
    "infinite post": ([3, 4], [INF, 3], NAN, NAN, NAN),
    "infinite both": ([INF, 4], [INF, 4], NAN, NAN, NAN),
    # the first row, scaled: squares of these overflow or vanish in float64, the ratio does not care
    # and the printed form becomes 1 - 4.8 * scale
    "huge": ([3e200, 4e200], [4e200, 3e200], 0.04, -4.8e200, 2e200),
    "tiny": ([3e-200, 4e-200], [4e-200, 3e-200], 0.04, 1, 2e-200),
    # the smallest positive numbers: 1 - 2/4 along one axis
    "subnormal": ([5e-324, 0], [1e-323, 0], 0.5, 1, 5e-324),
    # the shorter vector is nothing beside the longer one
    "tiny to huge": ([3e-200, 4e-200], [4e200, 3e200], 1, 1, 7e200),
}


@pytest.mark.parametrize(("index", "score"), enumerate(PAIR_SELECTORS))
@pytest.mark.parametrize("case", HAND)
def test_hand_computed_vectors(case, index, score):
    pre, post, *expected = HAND[case]
    with np.errstate(all="raise", under="ignore"):
        scores = score([pre], [post])
    assert scores.shape == (1,)
    assert scores.dtype == np.float64
    np.testing.assert_allclose(scores, [expected[index]], rtol=1e-12)


@pytest.mark.parametrize(("index", "score"), enumerate(PAIR_SELECTORS))
def test_layers_do_not_influence_each_other(index, score):
    # All rows of the table at once: a NaN, an overflow or a zero in one layer stays there.
    pre, post, *expected = zip(*HAND.values(), strict=True)
    np.testing.assert_allclose(score(pre, post), expected[index], rtol=1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_formulas_in_plain_python(seed):
    pre, post = random_pair(seed)
    for layer, (a, b) in enumerate(zip(pre.tolist(), post.tolist(), strict=True)):
        dot = sum(x * y for x, y in zip(a, b, strict=True))
        norm_a, norm_b = math.hypot(*a), math.hypot(*b)
        longest = max(norm_a, norm_b)
        change = sum(abs(y - x) for x, y in zip(a, b, strict=True))
        projection = formulas.projection(pre, post)[layer]
        assert projection == pytest.approx(1 - dot / longest**2, rel=1e-9)
        printed = formulas.projection_printed(pre, post)[layer]
        assert printed == pytest.approx(1 - dot / longest, rel=1e-9)
        assert formulas.magnitude(pre, post)[layer] == pytest.approx(change, rel=1e-12)


@pytest.mark.parametrize("ratio", [0.25, 0.999, 1.0, 1.001, 4.0])  # |post| / |pre|: both cases
@pytest.mark.parametrize("degrees", [0, 30, 89, 90, 91, 150, 180])
def test_projection_equals_the_case_equations(ratio, degrees):
    # A vector of length 2 turned by a known angle in a plane of a wider space.
    angle = math.radians(degrees)
    pre = [0.0, 2.0, 0.0, 0.0]
    post = [0.0, 2 * ratio * math.cos(angle), 0.0, 2 * ratio * math.sin(angle)]
    shorter_over_longer = min(ratio, 1 / ratio)
    expected = 1 - shorter_over_longer * math.cos(angle)
    assert formulas.projection([pre], [post])[0] == pytest.approx(expected, abs=1e-14)


@pytest.mark.parametrize("seed", SEEDS)
def test_projection_symmetries(seed):
    pre, post = random_pair(seed)
    scores = formulas.projection(pre, post)
    rotation = np.linalg.qr(np.random.default_rng(seed).normal(size=(7, 7))).Q
    np.testing.assert_allclose(formulas.projection(post, pre), scores, rtol=1e-12)
    np.testing.assert_allclose(formulas.projection(-1e-3 * pre, -1e-3 * post), scores, rtol=1e-9)
    np.testing.assert_allclose(
        formulas.projection(pre @ rotation, post @ rotation), scores, rtol=1e-9
    )
    assert (formulas.projection(pre, pre) == 0).all()
    assert ((scores > 0) & (scores < 2)).all()


def test_projection_of_a_small_step_keeps_its_digits():
    # A step of 1e-12 of the bias, against exact fractions. Computed as one minus a ratio, rounding
    # alone would leave an error of about 1e-4 of the score.
    pre = np.random.default_rng(0).normal(size=50)
    post = pre * (1 + 1e-12)
    exact_pre, exact_post = [Fraction(x) for x in pre], [Fraction(y) for y in post]
    dot = sum(x * y for x, y in zip(exact_pre, exact_post, strict=True))
    exact = float(1 - dot / sum(y * y for y in exact_post))
    assert formulas.projection([pre], [post])[0] == pytest.approx(exact, rel=1e-12, abs=0)


def test_projection_stays_in_its_range_despite_rounding():
    # Vectors that differ in their last digits: about every tenth would land outside by rounding.
    rng = np.random.default_rng(0)
    pre = rng.normal(size=(2000, 3))
    post = pre * (1 + rng.integers(-2, 3, size=pre.shape) * 2.0**-52)
    assert formulas.projection(pre, post).min() >= 0
    assert formulas.projection(pre, -post).max() <= 2


@pytest.mark.parametrize("seed", SEEDS)
def test_magnitude_is_a_distance_and_scales_with_its_unit(seed):
    pre, post = random_pair(seed)
    scores = formulas.magnitude(pre, post)
    np.testing.assert_array_equal(formulas.magnitude(post, pre), scores)
    np.testing.assert_allclose(formulas.magnitude(10 * pre, 10 * post), 10 * scores, rtol=1e-12)
    # A sum, not a mean: the same change twice as wide scores twice as much.
    twice = formulas.magnitude(np.hstack([pre, pre]), np.hstack([post, post]))
    np.testing.assert_allclose(twice, 2 * scores, rtol=1e-12)


def test_fisher_by_hand():
    grads = [  # 2 examples, 2 layers, width 2
        [[1, 2], [0, 0]],
        [[3, -4], [0, -2]],
    ]
    # layer 1: (1 + 4 + 9 + 16) / 4, layer 2: (0 + 0 + 0 + 4) / 4
    np.testing.assert_array_equal(formulas.fisher(grads), [7.5, 1.0])
    # both examples as one batch: mean gradients (2, -1) and (0, -1), so (4 + 1) / 2 and (0 + 1) / 2
    batch = np.mean(grads, axis=0, keepdims=True)
    np.testing.assert_array_equal(formulas.fisher_batch(batch), [2.5, 0.5])


@pytest.mark.parametrize("seed", SEEDS)
def test_fisher_in_plain_python(seed):
    grads = np.random.default_rng(seed).normal(size=(5, 3, 4))
    expected = [
        sum(grads[i, layer, j] ** 2 for i in range(5) for j in range(4)) / (5 * 4)
        for layer in range(3)
    ]
    np.testing.assert_allclose(formulas.fisher(grads), expected, rtol=1e-12)
    np.testing.assert_allclose(formulas.fisher(-grads), expected, rtol=1e-12)
    accumulated = sum(np.square(grad) for grad in grads) / len(grads)
    np.testing.assert_allclose(formulas.fisher_of_mean_squares(accumulated), expected, rtol=1e-12)
    # A batch of one example is that example, so the variant agrees with the formula there.
    np.testing.assert_allclose(formulas.fisher_batch(grads), expected, rtol=1e-12)


def test_fisher_batch_loses_opposite_gradients():
    grads = np.array([[[1.0, -2.0]], [[-1.0, 2.0]]])
    assert formulas.fisher(grads)[0] == 2.5  # (1 + 4 + 1 + 4) / 4
    assert formulas.fisher_batch(grads.mean(axis=0, keepdims=True))[0] == 0


def test_fisher_keeps_float32_gradients_that_vanish_when_squared():
    # 1e-30 is a float32, 1e-60 is not: squaring before converting would give 0.
    grads = np.full((2, 1, 3), 1e-30, dtype=np.float32)
    scores = formulas.fisher(grads)
    assert scores.dtype == np.float64  # approx would compare in float32 otherwise
    assert scores[0] == pytest.approx(1e-60, rel=1e-6, abs=0)


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
@pytest.mark.parametrize("score", [formulas.fisher, formulas.fisher_batch])
def test_fisher_of_a_layer_with_an_undefined_gradient(score, bad):
    grads = np.ones((3, 2, 4))
    grads[2, 1, 0] = bad
    np.testing.assert_array_equal(score(grads), [1.0, NAN])


def test_fisher_of_undefined_mean_squares():
    np.testing.assert_array_equal(
        formulas.fisher_of_mean_squares([[1, 3], [NAN, 3], [INF, 3]]), [2.0, NAN, NAN]
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_torch_tensors_are_read_even_with_gradients(dtype):
    pre = torch.tensor([[3.0, 4.0]], dtype=dtype, requires_grad=True)
    post = torch.tensor([[4.0, 3.0]], dtype=dtype)
    assert formulas.projection(pre, post)[0] == pytest.approx(0.04)
    assert formulas.magnitude(pre, post)[0] == 2
    assert formulas.fisher(pre[None])[0] == 12.5  # (9 + 16) / 2


def test_inputs_stay_as_they_were():
    pre, post = np.array([[3.0, NAN], [3.0, 4.0]]), np.array([[4.0, 3.0], [4.0, 3.0]])
    before = pre.copy(), post.copy()
    for score in PAIR_SELECTORS:
        score(pre, post)
    np.testing.assert_array_equal(pre, before[0])
    np.testing.assert_array_equal(post, before[1])


@pytest.mark.parametrize(
    ("pre_shape", "post_shape", "message"),
    [
        ((2, 3), (2, 4), r"pre and post differ in shape: \(2, 3\) and \(2, 4\)"),
        ((2, 3), (1, 3), r"pre and post differ in shape: \(2, 3\) and \(1, 3\)"),  # no broadcasting
        ((3,), (3,), r"pre must be a non-empty \(layers, width\) array, got shape \(3,\)"),
        ((2, 3), (2, 3, 1), r"post must be .* got shape \(2, 3, 1\)"),
        ((0, 3), (0, 3), r"pre must be a non-empty .* got shape \(0, 3\)"),
        ((2, 0), (2, 0), r"pre must be a non-empty .* got shape \(2, 0\)"),
    ],
)
@pytest.mark.parametrize("score", PAIR_SELECTORS)
def test_wrong_snapshot_shapes(score, pre_shape, post_shape, message):
    with pytest.raises(ValueError, match=message):
        score(np.ones(pre_shape), np.ones(post_shape))


@pytest.mark.parametrize(
    ("score", "shape", "message"),
    [
        (formulas.fisher, (2, 3), r"grads must be .*\(examples, layers, width\).* shape \(2, 3\)"),
        (formulas.fisher, (0, 2, 3), r"grads must be a non-empty .* shape \(0, 2, 3\)"),
        (formulas.fisher_batch, (2, 3), r"batch_grads must be .*\(batches, layers, width\)"),
        (formulas.fisher_of_mean_squares, (4, 2, 3), r"mean_squares must be .*\(layers, width\)"),
        (formulas.term_score, (0,), r"layer_scores must be a non-empty .* shape \(0,\)"),
        (formulas.term_score, (2, 3), r"layer_scores must be .* shape \(2, 3\)"),
    ],
)
def test_wrong_shapes(score, shape, message):
    with pytest.raises(ValueError, match=message):
        score(np.ones(shape))


def test_gradients_passed_as_squares_are_noticed():
    with pytest.raises(ValueError, match="mean_squares holds negative values"):
        formulas.fisher_of_mean_squares([[0.1, -0.1]])


def test_registry_says_what_each_selector_needs():
    arguments = {"snapshots": ([[3, 4]], [[4, 3]]), "gradients": ([[[3, 4]]],)}
    # 1 - 24/25; 1 - 24/5; |1| + |-1|; (9 + 16) / 2 for a single gradient
    expected = {
        "projection": 0.04,
        "projection_printed": -3.8,
        "magnitude": 2,
        "fisher": 12.5,
        "fisher_batch": 12.5,
    }
    scores = {
        name: selector.score(*arguments[selector.needs])[0]
        for name, selector in formulas.SELECTORS.items()
    }
    assert scores == pytest.approx(expected)


@pytest.mark.parametrize(
    ("layer_scores", "expected"),
    [
        ([0.25, 0.75], 0.5),
        ([0.3], 0.3),
        ([0.5, NAN], NAN),  # not 0.5: half of the model is unknown
        ([NAN, NAN], NAN),
    ],
)
def test_term_score_is_the_mean_over_layers(layer_scores, expected):
    score = formulas.term_score(layer_scores)
    assert type(score) is float
    assert score == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ({"q": 0.2, "k": 0.1, "v": 0.9}, {"q": 2, "k": 3, "v": 1}),
        ({"q": 0.5, "k": 0.5, "v": 0.1}, {"q": 1, "k": 1, "v": 3}),
        ({"q": 0.2, "k": NAN, "v": 0.1}, {"q": 1, "k": None, "v": 2}),
    ],
)
def test_ranks(scores, expected):
    assert formulas.ranks(scores) == expected


SCORES = st.dictionaries(
    st.text("qkv", min_size=1, max_size=3), st.sampled_from([-INF, -1.5, 0.0, 0.25, 1.0, INF, NAN])
)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(SCORES)
def test_ranks_are_places_in_the_sorted_list_and_undefined_scores_have_none(scores):
    found = formulas.ranks(scores)
    best_first = sorted((s for s in scores.values() if not math.isnan(s)), reverse=True)
    for term, score in scores.items():
        place = None if math.isnan(score) else best_first.index(score) + 1
        assert found[term] == place
    assert formulas.ranks(dict(reversed(scores.items()))) == found
    assert formulas.ranks({t: math.atan(s) for t, s in scores.items()}) == found  # increasing
    chosen = formulas.select(scores, sorted(scores))
    assert (found[chosen] == 1) if best_first else (chosen is None)


@pytest.mark.parametrize(
    ("scores", "among", "expected"),
    [
        ({"q": 0.2, "k": 0.1, "v": 0.9}, ("q", "k", "v"), "v"),
        ({"q": 0.2, "k": 0.1, "v": 0.9, "output": 5.0}, ("q", "k", "v"), "v"),
        ({"q": 0.2, "k": 0.1, "v": 0.9, "output": 5.0}, ("v", "output"), "output"),
        ({"v": 0.5, "k": 0.1, "q": 0.5}, ("q", "k", "v"), "q"),  # a tie: first in `among`
        ({"v": 0.5, "k": 0.1, "q": 0.5}, ("v", "k", "q"), "v"),
        ({"q": NAN, "k": 0.1, "v": NAN}, ("q", "k", "v"), "k"),
        ({"q": 0.3, "v": 0.2}, ("q", "k", "v"), "q"),  # a study may skip k
        ({"q": -4.0, "v": -3.8}, ("q", "k", "v"), "v"),
        ({"q": NAN, "k": NAN, "v": NAN}, ("q", "k", "v"), None),
        ({"output": 0.1}, ("q", "k", "v"), None),
        ({}, ("q", "k", "v"), None),
    ],
)
def test_select(scores, among, expected):
    assert formulas.select(scores, among) == expected


def test_select_chooses_among_q_k_v_by_default():
    assert formulas.select({"q": 0.2, "k": 0.1, "v": 0.3, "output": 0.9}) == "v"
