"""Heads that are fitted to embeddings instead of trained: logistic regression, or ridge."""

import logging
import warnings
from collections.abc import Callable, Sequence

import numpy as np
import torch

from beft.data.encoded import Encoded
from beft.engine.base import Engine
from beft.models.encoder import Encoder
from beft.study.recipe import fits_head

log = logging.getLogger(__name__)

STEPS = 1000  # of the solver, at most
NEVER = -1e4  # logit of a class that no example has: its probability is 0


def fitted_head(
    embeddings: np.ndarray, labels: np.ndarray, outputs: int, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Fits a linear head by scikit-learn, with its default regularisation.

    Classes: `LogisticRegression` (C = 1). Values: `Ridge` (alpha = 1). The result depends on the
    examples alone. A class that no example has is never predicted.

    Args:
        embeddings: (n, H).
        labels: classes, or values where there is one output, (n,).
        outputs: of the head.
        weights: of the examples where classes are weighted, (n,).

    Returns:
        Weight (outputs, H) and bias (outputs,), float32; NaN if an embedding is not finite.
    """
    weight, bias = np.zeros((outputs, embeddings.shape[1])), np.full(outputs, NEVER)
    points = embeddings.astype(np.float64)
    if not np.isfinite(points).all():
        weight[:], bias[:] = np.nan, np.nan
    elif outputs == 1:
        weight[0], bias[0] = _ridge(points, labels.astype(np.float64))
    else:
        present = np.unique(labels)
        weight[present], bias[present] = _logistic(points, labels, len(present), weights)
    return weight.astype(np.float32), bias.astype(np.float32)


def _ridge(points: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, float]:
    from sklearn.linear_model import Ridge

    model = Ridge(alpha=1.0).fit(points, values)
    return model.coef_, model.intercept_


def _logistic(
    points: np.ndarray, labels: np.ndarray, classes: int, weights: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """A row of weights and a bias for each class that some example has."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    if classes == 1:
        return np.zeros((1, points.shape[1])), np.zeros(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # said below, in one line
        model = LogisticRegression(max_iter=STEPS).fit(points, labels, weights)
    if max(model.n_iter_) >= STEPS:
        log.warning("a head is used as it was after %d steps, before its fit converged", STEPS)
    if classes > 2:
        return model.coef_, model.intercept_
    # One row, whose output is the difference of the two logits.
    signs = np.array([-0.5, 0.5])
    return signs[:, None] * model.coef_, signs * model.intercept_


def fit_heads(
    engine: Engine[Encoder, Encoded],
    runs: Sequence[int],
    embeddings: Callable[[Encoded, int, int], np.ndarray],
) -> None:
    """Fits the heads of these runs to their training examples; trained heads stay as they are.

    Args:
        embeddings: of examples, a run and their width, (n, width).
    """
    if not fits_head(engine.settings):
        return
    names = engine.model.head  # weight and bias of one linear layer
    outputs, width = engine.model.model.get_parameter(names[0]).shape
    for run in runs:
        data = engine.train[run]
        weights = None if data.weights is None else data.weights.numpy()
        points = embeddings(data, run, width)
        found = fitted_head(points, data.labels.numpy(), outputs, weights)
        engine.start_from(run, None, dict(zip(names, map(torch.from_numpy, found), strict=True)))
