"""Sums over examples: they stand for the metrics, of a whole set and of any part drawn from it."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from beft.tasks.metrics import answers, sums
from beft.tasks.metrics import classes as metrics
from beft.tasks.words import Words

RNG = np.random.default_rng(0)
N = 60
OF_CLASSES = {
    "accuracy": accuracy_score,
    "f1": lambda truth, said: f1_score(truth, said, zero_division=0.0),
    "f1_macro": lambda truth, said: f1_score(truth, said, average="macro", zero_division=0.0),
    "matthews": matthews_corrcoef,
}
OF_VALUES = {"pearson": stats.pearsonr, "spearman": stats.spearmanr}


def total(metric, predictions, references) -> float:
    found = sums.columns(metric, predictions, references)
    assert found.shape[0] == len(predictions) and found.dtype == np.float64
    return sums.value(metric, found.sum(axis=0), len(predictions))


def classes(metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Predictions that are mostly right, of 2 classes for f1, else of 4."""
    truth = RNG.integers(0, 2 if metric == "f1" else 4, N)
    return np.where(RNG.random(N) < 0.6, truth, RNG.permutation(truth)), truth


@pytest.mark.parametrize("metric", OF_CLASSES)
def test_classes_equal_the_libraries(metric):
    for _ in range(5):
        said, truth = classes(metric)
        found = total(metric, said, truth)
        assert found == pytest.approx(OF_CLASSES[metric](truth, said), abs=1e-12)
        assert found == pytest.approx(metrics.score(metric, said, truth), abs=1e-12)


@pytest.mark.parametrize("metric", OF_VALUES)
@pytest.mark.parametrize("scale", [1.0, 1e-9, 1e200])
def test_values_equal_the_libraries(metric, scale):
    truth = RNG.integers(0, 20, N) / 4  # with ties
    said = (truth + RNG.normal(0, 1, N)).round(1) * scale
    found = total(metric, said, truth)
    assert found == pytest.approx(OF_VALUES[metric](truth, said / scale).statistic, abs=1e-12)
    assert found == pytest.approx(metrics.score(metric, said, truth), abs=1e-12)


@pytest.mark.parametrize("metric", OF_CLASSES)
def test_what_is_drawn_again_is_scored_as_the_library_scores_it(metric):
    """A resample in which some examples are several times and a class may be lacking."""
    said, truth = classes(metric)
    found = sums.columns(metric, said, truth)
    for size in (5, N):
        rows = RNG.integers(0, N, (20, size))
        counts = np.stack([np.bincount(row, minlength=N) for row in rows])
        expected = [OF_CLASSES[metric](truth[row], said[row]) for row in rows]
        assert sums.value(metric, counts @ found, size) == pytest.approx(expected, abs=1e-12)


def test_a_resample_keeps_the_ranks_of_the_whole_set():
    said, truth = RNG.normal(size=N), RNG.normal(size=N)
    rows = RNG.integers(0, N, N)
    drawn = {m: sums.columns(m, said, truth)[rows].sum(axis=0) for m in OF_VALUES}
    ranks = stats.rankdata(said)[rows], stats.rankdata(truth)[rows]
    assert sums.value("spearman", drawn["spearman"], N) == pytest.approx(
        stats.pearsonr(*ranks).statistic
    )
    assert sums.value("pearson", drawn["pearson"], N) == pytest.approx(
        stats.pearsonr(said[rows], truth[rows]).statistic
    )


@pytest.mark.parametrize("metric", metrics.METRICS)
@pytest.mark.parametrize(
    ("said", "truth"),
    [
        ([0, 0, 0], [0, 1, 1]), ([0, 1, 1], [0, 0, 0]), ([0, 0, 0], [0, 0, 0]), ([1], [1]),
        ([1, 1], [0, 0]),
    ],
)  # fmt: skip
def test_degenerate_cases_are_those_of_the_metrics(metric, said, truth):
    assert total(metric, np.array(said), np.array(truth)) == metrics.score(metric, said, truth)


def test_one_example_many_times_has_no_correlation():
    found = sums.columns("pearson", RNG.normal(size=9), RNG.normal(size=9))
    assert sums.value("pearson", 9 * found[4], 9) == 0


@pytest.mark.parametrize("metric", ["accuracy", "f1", "f1_macro", "matthews"])
def test_zeros_at_the_end_change_nothing(metric):
    said, truth = classes(metric)
    found = sums.columns(metric, said, truth)
    wide = np.hstack([found, np.zeros((N, 4))])
    assert sums.value(metric, wide.sum(0), N) == sums.value(metric, found.sum(0), N)


def test_leading_axes_are_kept():
    said, truth = classes("matthews")
    found = sums.columns("matthews", said, truth)
    counts = RNG.integers(0, 3, (4, 3, N))
    both = sums.value("matthews", counts @ found, N)
    assert both.shape == (4, 3)
    assert both[2, 1] == sums.value("matthews", counts[2, 1] @ found, N)


def asked(*gold: int, answers=(" red house", " house", " 3 yards"), group="") -> Words:
    return Words("", "", "", tuple(answers), gold, group)


TEXTS = [name for name in answers.EACH if name != "accuracy"]
SAID = {
    **dict.fromkeys(TEXTS,
                    ["a house", "the red barn", "3 yards", ""]),
    **dict.fromkeys(("accuracy", "f1", "f1_macro", "matthews", "question_exact_match"),
                    [1, 1, 0, 1]),
}  # fmt: skip


@pytest.mark.parametrize("metric", answers.METRICS)
def test_answers_of_decoders_equal_their_scores(metric):
    examples = [asked(1, 0), asked(0), asked(1, group="p"), asked(1, group="p")]
    expected = answers.score_words(metric, SAID[metric], examples)
    assert total(metric, SAID[metric], examples) == pytest.approx(expected, abs=1e-15)
    assert 0 < expected < 1 or metric in ("f1_macro", "matthews") or "drop_exact_match" in metric


def test_a_group_counts_once_at_its_first_example():
    examples = [asked(1, group="p"), asked(1), asked(1, group="p"), asked(0, group="q")]
    found = sums.columns("question_exact_match", [1, 0, 1, 0], examples)
    assert found.tolist() == [[1, 1], [0, 1], [0, 0], [1, 1]]


def test_every_metric_has_columns_and_a_value():
    assert set(sums.METRICS) == {*metrics.METRICS, *answers.METRICS}
    with pytest.raises(ValueError, match="unknown metric 'bleu'"):
        sums.columns("bleu", [0], [0])
    with pytest.raises(ValueError, match="unknown metric 'bleu'"):
        sums.value("bleu", [0], 1)


@pytest.mark.parametrize("classes", [[0.5, 1], [-1, 1]])
def test_classes_are_whole_numbers(classes):
    with pytest.raises(ValueError, match="whole numbers"):
        sums.columns("matthews", np.array(classes), np.array([0, 1]))


@pytest.mark.parametrize("metric", ["accuracy", "matthews", "spearman"])
def test_least_is_what_the_worst_answers_score(metric):
    truth = np.array([0, 1, 2, 3]) if metric == "spearman" else np.array([0, 1, 0, 1])
    assert metrics.score(metric, truth[::-1], truth) == sums.least(metric)


@pytest.mark.parametrize(
    ("values", "kind"), [([0, 2, 255], "uint8"), ([0.5, -1], "float32"), ([0.1], "float64")]
)
def test_the_smallest_type_that_is_exact(values, kind):
    table = np.array(values, dtype=np.float64)[:, None]
    small = sums.smallest(table)
    assert small.dtype == kind and (small == table).all()
