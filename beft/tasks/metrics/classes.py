"""The metrics of classes and of values, computed by scikit-learn and scipy.

A metric whose formula divides by zero is 0 here: a model that always gives the same answer has
learned nothing, and a NaN would hide that run from every table. Both libraries are imported where
they compute: most commands need neither, and importing them takes a second.
"""

import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike


def score(
    metric: str, predictions: ArrayLike, references: ArrayLike, labels: int | None = None
) -> float:
    """Computes one metric of one set of predictions.

    Args:
        metric: a key of `METRICS`.
        predictions: classes, or values for spearman and pearson, (examples,).
        references: the right answers, (examples,).
        labels: number of classes of the task, to check that every class is in 0 .. labels - 1. It
            does not change the result. Leave it out for spearman and pearson.

    Returns:
        A finite fraction: 0 to 1, or -1 to 1 for the correlations.

    Raises:
        ValueError: the metric is unknown, the arrays are empty, not one-dimensional, not finite or
            of different length, or a class is not a whole number or out of range.
    """
    if metric not in METRICS:
        raise ValueError(f"unknown metric {metric!r}; choose one of {', '.join(METRICS)}")
    ours = _one_per_example(predictions, "predictions")
    theirs = _one_per_example(references, "references")
    if len(ours) != len(theirs):
        raise ValueError(f"lengths differ: {len(ours)} predictions and {len(theirs)} references")
    ours, theirs = _finite(ours, "predictions"), _finite(theirs, "references")
    if metric not in _OF_VALUES:
        ours = _classes(ours, "predictions", labels)
        theirs = _classes(theirs, "references", labels)
    elif labels is not None:
        raise ValueError(f"{metric} compares values, not classes: leave out labels={labels}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of degenerate cases, which are defined here
        return float(METRICS[metric](ours, theirs))


def _accuracy(predictions: np.ndarray, references: np.ndarray) -> float:
    """Fraction of examples whose predicted class is the right one."""
    from sklearn.metrics import accuracy_score

    return accuracy_score(references, predictions)


def _f1(predictions: np.ndarray, references: np.ndarray) -> float:
    """F1 of class 1 in a task of the classes 0 and 1; 0 when no 1 is predicted rightly."""
    if not np.isin([predictions, references], (0, 1)).all():
        raise ValueError("f1 is defined for the classes 0 and 1; others need f1_macro")
    from sklearn.metrics import f1_score

    return f1_score(references, predictions, pos_label=1, zero_division=0.0)


def _f1_macro(predictions: np.ndarray, references: np.ndarray) -> float:
    """Mean of the F1 of every class that occurs in the references or the predictions.

    That is scikit-learn's default and the official metric of CB. A class that occurs in neither
    does not count, a class that occurs in only one of them counts as 0.
    """
    from sklearn.metrics import f1_score

    return f1_score(references, predictions, average="macro", zero_division=0.0)


def _matthews(predictions: np.ndarray, references: np.ndarray) -> float:
    """Matthews correlation of classes, -1 to 1; 0 when predictions or references are constant."""
    from sklearn.metrics import matthews_corrcoef

    return matthews_corrcoef(references, predictions)


def _spearman(predictions: np.ndarray, references: np.ndarray) -> float:
    """Spearman rank correlation, ties at their mean rank; 0 when either side is constant."""
    if _constant(predictions) or _constant(references):
        return 0.0
    from scipy.stats import spearmanr

    return spearmanr(references, predictions).statistic


def _pearson(predictions: np.ndarray, references: np.ndarray) -> float:
    """Pearson correlation; 0 when either side is constant."""
    if _constant(predictions) or _constant(references):
        return 0.0
    from scipy.stats import pearsonr

    # The scale does not matter, and without it the mean of huge values overflows.
    return pearsonr(_unit(references), _unit(predictions)).statistic


METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "accuracy": _accuracy,
    "f1": _f1,
    "f1_macro": _f1_macro,
    "matthews": _matthews,
    "spearman": _spearman,
    "pearson": _pearson,
}
_OF_VALUES = ("spearman", "pearson")  # the others compare classes


def _one_per_example(values: ArrayLike, name: str) -> np.ndarray:
    array = np.asarray(values)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name} must be one number per example, got shape {array.shape}")
    return array


def _finite(values: np.ndarray, name: str) -> np.ndarray:
    array = values.astype(np.float64)
    if not np.isfinite(array).all():
        raise ValueError(f"the {name} are not finite: they hold NaN or infinite values")
    return array


def _classes(values: np.ndarray, name: str, labels: int | None) -> np.ndarray:
    classes = values.astype(np.int64)
    if (classes != values).any():
        raise ValueError(f"the {name} must be classes, which are whole numbers")
    if labels is not None and not ((classes >= 0) & (classes < labels)).all():
        raise ValueError(f"the {name} must be classes from 0 to {labels - 1}")
    return classes


def _constant(values: np.ndarray) -> bool:
    return bool((values == values[0]).all())


def _unit(values: np.ndarray) -> np.ndarray:
    return values / np.abs(values).max()
