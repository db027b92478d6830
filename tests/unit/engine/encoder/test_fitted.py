"""Heads that are fitted: the probabilities of scikit-learn's own classifiers, from plain logits."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.utils.class_weight import compute_sample_weight

from beft.engine.encoder import fitted
from beft.engine.encoder.fitted import fitted_head

RNG = np.random.default_rng(0)
POINTS = RNG.normal(size=(60, 5)).astype(np.float32)
OTHERS = RNG.normal(size=(20, 5)).astype(np.float32)


def classes_of(points: np.ndarray, classes: int) -> np.ndarray:
    """Classes that depend on the points, and a few that do not."""
    drawn = np.digitize(points[:, 0] + points[:, 1], np.linspace(-1, 1, classes + 1)[1:-1])
    return np.where(RNG.random(len(points)) < 0.2, RNG.integers(0, classes, len(points)), drawn)


def logits(points: np.ndarray, labels: np.ndarray, outputs: int) -> np.ndarray:
    weight, bias = fitted_head(POINTS, labels, outputs)
    assert (weight.shape, bias.shape) == ((outputs, 5), (outputs,))
    assert weight.dtype == bias.dtype == np.float32
    return points @ weight.T + bias


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_probabilities_are_those_of_scikit_learn(classes):
    labels = classes_of(POINTS, classes)
    model = LogisticRegression(max_iter=1000).fit(POINTS.astype(np.float64), labels)
    expected = model.predict_proba(OTHERS)
    found = softmax(logits(OTHERS, labels, classes), axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_weighted_classes_are_those_of_scikit_learn():
    labels = (POINTS[:, 0] > 1).astype(np.int64)
    model = LogisticRegression(max_iter=1000, class_weight="balanced")
    expected = model.fit(POINTS.astype(np.float64), labels).predict_proba(OTHERS)
    weights = compute_sample_weight("balanced", labels)
    weight, bias = fitted_head(POINTS, labels, 2, weights)
    found = softmax(OTHERS @ weight.T + bias, axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert np.abs(found - softmax(logits(OTHERS, labels, 2), axis=1)).max() > 0.1


def test_values_are_those_of_ridge():
    values = POINTS @ np.arange(5.0) + 3
    expected = Ridge(alpha=1.0).fit(POINTS.astype(np.float64), values).predict(OTHERS)
    np.testing.assert_allclose(logits(OTHERS, values, 1)[:, 0], expected, rtol=1e-4)


@pytest.mark.parametrize("present", [[0, 3], [1], [0, 2, 3]])
def test_a_class_without_an_example_is_never_predicted(present):
    labels = np.array(present)[classes_of(POINTS, 4) % len(present)]
    found = softmax(logits(OTHERS, labels, 4), axis=1)
    np.testing.assert_allclose(found[:, present].sum(1), 1, rtol=1e-6)
    if len(present) > 1:
        model = LogisticRegression(max_iter=1000).fit(POINTS.astype(np.float64), labels)
        np.testing.assert_allclose(found[:, present], model.predict_proba(OTHERS), rtol=1e-4)


@pytest.mark.parametrize("outputs", [1, 2])
def test_points_that_are_not_finite_give_a_head_that_is_not_finite(outputs):
    """As the outputs of a run that diverged, which ends it; scikit-learn would raise."""
    points = POINTS.copy()
    points[3, 2] = np.inf
    for part in fitted_head(points, classes_of(POINTS, 2), outputs):
        assert np.isnan(part).all()


def test_a_fit_that_does_not_converge_is_said(monkeypatch, caplog, recwarn):
    monkeypatch.setattr(fitted, "STEPS", 2)
    fitted_head(POINTS, classes_of(POINTS, 2), 2)
    assert "before its fit converged" in caplog.text and not recwarn.list
