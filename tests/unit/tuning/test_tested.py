"""The numbers of the test, against scikit-learn's."""

import numpy as np
import pytest
from sklearn import metrics

from beft.tuning.examples import Meaning
from beft.tuning.tested import tested

CLASSES = Meaning(("text",), "label", ("bad", "fair", "good"))


@pytest.fixture
def answers():
    draw = np.random.default_rng(3)
    labels = draw.integers(0, 3, 200)
    return np.where(draw.random(200) < 0.7, labels, draw.integers(0, 3, 200)), labels


def test_numbers_of_each_class_are_those_of_scikit_learn(answers):
    predictions, labels = answers
    found = tested("accuracy", predictions, labels, 0, CLASSES)
    precision, recall, f1, rows = metrics.precision_recall_fscore_support(labels, predictions)
    assert [c.name for c in found.classes] == ["bad", "fair", "good"]
    assert [c.precision for c in found.classes] == pytest.approx(list(precision))
    assert [c.recall for c in found.classes] == pytest.approx(list(recall))
    assert [c.f1 for c in found.classes] == pytest.approx(list(f1))
    assert [c.rows for c in found.classes] == list(rows)
    assert np.array_equal(found.confusion, metrics.confusion_matrix(labels, predictions))
    assert found.value == pytest.approx(metrics.accuracy_score(labels, predictions))
    assert found.guess == pytest.approx((labels == 0).mean())


def test_the_interval_of_an_accuracy_is_about_that_of_a_share(answers):
    predictions, labels = answers
    found = tested("accuracy", predictions, labels, 0, CLASSES)
    half = 1.96 * np.sqrt(found.value * (1 - found.value) / 200)
    assert found.high - found.low == pytest.approx(2 * half, rel=0.15)
    assert found.low < found.value < found.high


def test_a_class_that_is_never_predicted_has_no_precision():
    found = tested("accuracy", np.array([0, 0, 0]), np.array([0, 1, 2]), 0, CLASSES)
    assert [c.precision for c in found.classes] == [pytest.approx(1 / 3), 0, 0]


def test_errors_of_a_regression_are_in_its_own_unit():
    """Targets are 10 * value + 100."""
    meaning = Meaning(("text",), "stars", (), mean=100.0, deviation=10.0)
    found = tested("pearson", np.array([0.0, 1.0, 2.5]), np.array([0.0, 1.0, 2.0]), 0, meaning)
    assert found.mae == pytest.approx(5 / 3)
    assert found.rmse == pytest.approx(np.sqrt(25 / 3))
