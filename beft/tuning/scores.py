"""How good predictions are: metrics, and numbers of each class."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from beft.tasks.metrics.classes import score


@dataclass(frozen=True)
class ClassScore:
    """How good predictions of one class are, as fractions; 0 where there is nothing to divide."""

    name: str
    precision: float  # of the rows that got this class, those that have it
    recall: float  # of the rows that have this class, those that got it
    support: int  # rows that have this class


def confusion(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """How many rows of each class got each class, (classes, classes) int64: truth, prediction.

    Args:
        truth, predicted: positions of classes, (n,).
    """
    pairs = truth.astype(np.int64) * classes + predicted.astype(np.int64)
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def by_class(matrix: np.ndarray, names: Sequence[str]) -> tuple[ClassScore, ...]:
    """The numbers of each class, in order, from `confusion`."""
    right, got, have = np.diag(matrix), matrix.sum(0), matrix.sum(1)
    return tuple(
        ClassScore(
            name,
            float(right[i] / got[i]) if got[i] else 0.0,
            float(right[i] / have[i]) if have[i] else 0.0,
            int(have[i]),
        )
        for i, name in enumerate(names)
    )


def of_classes(matrix: np.ndarray) -> dict[str, float]:
    """Accuracy and macro F1, as fractions, from `confusion`, which has at least one row."""
    right, sums = np.diag(matrix), matrix.sum(0) + matrix.sum(1)
    f1 = 2 * right[sums > 0] / sums[sums > 0]
    return {"accuracy": float(right.sum() / matrix.sum()), "f1_macro": float(f1.mean())}


def of_values(truth: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Mean absolute error and root mean squared error, in the unit of the values; correlations.

    Args:
        truth, predicted: finite values, (n,) with n > 0.
    """
    error = predicted.astype(np.float64) - truth
    return {
        "mae": float(np.abs(error).mean()),
        "rmse": float(np.sqrt(np.square(error).mean())),
        "pearson": score("pearson", predicted, truth),
        "spearman": score("spearman", predicted, truth),
    }
