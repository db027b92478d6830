"""The metrics of the tasks, as `evaluate.Metric` classes that need no network.

`evaluate.load` downloads metric scripts, so it fails on a compute node. These classes compute the
same numbers with scikit-learn and scipy, keep everything in memory and write no file, so any number
of processes can score at once. `score` is what the library calls: one finite fraction or an error.

A metric whose formula divides by zero is 0 here: a model that always gives the same answer has
learned nothing, and a NaN would hide that run from every table.
"""

import warnings
from pathlib import Path

import datasets
import evaluate
import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from sklearn import metrics as sk


class _OfflineMetric(evaluate.Metric):
    """What the metrics share: they compute in memory, without files, on checked inputs."""

    key = ""
    of_classes = True

    def __init__(self) -> None:
        super().__init__(keep_in_memory=True)

    def _build_data_dir(self) -> str:
        # The base class creates this directory even when it keeps everything in memory.
        return str(Path(self._data_dir_root, self.name, self.config_name))

    def _info(self) -> evaluate.MetricInfo:
        value = datasets.Value("float64")  # also for classes: int64 would cut 0.7 to 0 unasked
        return evaluate.MetricInfo(
            description=type(self).__doc__,
            citation="",
            inputs_description="predictions and references: one number per example, same order.",
            features=datasets.Features({"predictions": value, "references": value}),
        )  # no format="numpy": it would round values to float32 and so make new ties

    def _compute(
        self, *, predictions: ArrayLike, references: ArrayLike, labels: int | None = None
    ) -> dict[str, float]:
        predictions = _finite(predictions, "predictions")
        references = _finite(references, "references")
        if self.of_classes:
            predictions = _classes(predictions, "predictions", labels)
            references = _classes(references, "references", labels)
        elif labels is not None:
            raise ValueError(f"{self.key} compares values, not classes: leave out labels={labels}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of degenerate cases, which are defined here
            return {self.key: float(self._value(predictions, references))}

    def _value(self, predictions: np.ndarray, references: np.ndarray) -> float:
        raise NotImplementedError


class Accuracy(_OfflineMetric):
    """Share of examples whose predicted class is the right one."""

    key = "accuracy"

    def _value(self, predictions: np.ndarray, references: np.ndarray) -> float:
        return sk.accuracy_score(references, predictions)


class F1(_OfflineMetric):
    """F1 of class 1 in a task of the classes 0 and 1; 0 when no 1 is predicted rightly."""

    key = "f1"

    def _value(self, predictions: np.ndarray, references: np.ndarray) -> float:
        if not np.isin([predictions, references], (0, 1)).all():
            raise ValueError("f1 is defined for the classes 0 and 1; others need f1_macro")
        return sk.f1_score(references, predictions, pos_label=1, zero_division=0.0)


class MacroF1(_OfflineMetric):
    """Mean of the F1 of every class that occurs in the references or the predictions.

    That is scikit-learn's default and the official metric of CB. A class that occurs in neither
    does not count, a class that occurs in only one of them counts as 0.
    """

    key = "f1_macro"

    def _value(self, predictions: np.ndarray, references: np.ndarray) -> float:
        return sk.f1_score(references, predictions, average="macro", zero_division=0.0)


class Matthews(_OfflineMetric):
    """Matthews correlation of classes, -1 to 1; 0 when predictions or references are constant."""

    key = "matthews"

    def _value(self, predictions: np.ndarray, references: np.ndarray) -> float:
        return sk.matthews_corrcoef(references, predictions)


class Spearman(_OfflineMetric):
    """Spearman rank correlation, ties at their mean rank; 0 when either side is constant."""

    key = "spearman"
    of_classes = False

    def _value(self, predictions: np.ndarray, references: np.ndarray) -> float:
        if _constant(predictions) or _constant(references):
            return 0.0
        return stats.spearmanr(references, predictions).statistic


class Pearson(_OfflineMetric):
    """Pearson correlation; 0 when either side is constant."""

    key = "pearson"
    of_classes = False

    def _value(self, predictions: np.ndarray, references: np.ndarray) -> float:
        if _constant(predictions) or _constant(references):
            return 0.0
        # The scale does not matter, and without it the mean of huge values overflows.
        return stats.pearsonr(_unit(references), _unit(predictions)).statistic


METRICS: dict[str, type[evaluate.Metric]] = {
    metric.key: metric for metric in (Accuracy, F1, MacroF1, Matthews, Spearman, Pearson)
}


def score(
    metric: str, predictions: ArrayLike, references: ArrayLike, labels: int | None = None
) -> float:
    """Compute one metric of one set of predictions.

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
    predictions = _one_per_example(predictions, "predictions")
    references = _one_per_example(references, "references")
    if len(predictions) != len(references):
        raise ValueError(
            f"lengths differ: {len(predictions)} predictions and {len(references)} references"
        )
    computed = METRICS[metric]().compute(
        predictions=predictions, references=references, labels=labels
    )
    return computed[metric]


def _one_per_example(values: ArrayLike, name: str) -> np.ndarray:
    array = np.asarray(values)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name} must be one number per example, got shape {array.shape}")
    return array


def _finite(values: ArrayLike, name: str) -> np.ndarray:
    array = _one_per_example(values, name).astype(np.float64)
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
