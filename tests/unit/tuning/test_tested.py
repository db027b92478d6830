"""The numbers of the test, against scikit-learn's."""

import numpy as np
import pytest
from sklearn import metrics

from beft.tuning.examples import Meaning
from beft.tuning.tested import score_rows

CLASSES = Meaning(("text",), "label", ("bad", "fair", "good"))


@pytest.fixture
def answers():
    draw = np.random.default_rng(3)
    labels = draw.integers(0, 3, 200)
    return np.where(draw.random(200) < 0.7, labels, draw.integers(0, 3, 200)), labels


def test_the_metric_and_guessing_are_those_of_scikit_learn(answers):
    predictions, labels = answers
    found = score_rows("accuracy", predictions, labels, 0, CLASSES)
    assert found.value == pytest.approx(metrics.accuracy_score(labels, predictions))
    assert found.guess == pytest.approx((labels == 0).mean())
    assert [c.name for c in found.classes] == ["bad", "fair", "good"]


def test_the_interval_of_an_accuracy_is_about_that_of_a_share(answers):
    predictions, labels = answers
    found = score_rows("accuracy", predictions, labels, 0, CLASSES)
    half = 1.96 * np.sqrt(found.value * (1 - found.value) / 200)
    assert found.high - found.low == pytest.approx(2 * half, rel=0.15)
    assert found.low < found.value < found.high


def test_errors_of_a_regression_have_no_guess():
    meaning = Meaning(("text",), "stars", (), mean=100.0, deviation=10.0)
    found = score_rows(
        "pearson", np.array([100.0, 110, 125]), np.array([100.0, 110, 120]), 0, meaning
    )
    assert found.guess is None
    assert found.errors["mae"] == pytest.approx(5 / 3)
