"""The test at the end: a metric of the test rows with its interval, and numbers of each class."""

from dataclasses import dataclass

import numpy as np

from beft.report.statistics.resampling import resamples, weigh
from beft.tasks.metrics import sums
from beft.tasks.metrics.classes import score
from beft.tuning.examples import Meaning


@dataclass(frozen=True)
class PerClass:
    """How one class is predicted; fractions."""

    name: str
    rows: int  # of the test that are of this class
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Tested:
    """What the test rows say of a tuned model."""

    metric: str
    value: float  # a fraction
    low: float  # ends of the 95 % bootstrap interval over test rows
    high: float
    rows: int
    guess: float  # the metric of one answer to all rows: the commonest class of the pool
    classes: tuple[PerClass, ...]  # empty for a regression
    confusion: tuple[tuple[int, ...], ...]  # rows of a class -> how often each is predicted
    mae: float | None = None  # mean absolute error of a regression, in its own unit
    rmse: float | None = None  # root of the mean squared error, likewise


def tested(
    metric: str, predictions: np.ndarray, labels: np.ndarray, majority: int, meaning: Meaning
) -> Tested:
    """Scores the predictions of the test rows.

    Args:
        predictions, labels: (n,) classes, or standardised values.
        majority: the commonest class of the rows that were trained on.
    """
    n, count = len(labels), len(meaning.classes)
    value = score(metric, predictions, labels, labels=count or None)
    low, high = interval(metric, predictions, labels)
    if not count:
        error = (predictions - labels) * meaning.deviation
        return Tested(
            *(metric, value, low, high, n, 0.0, (), ()),
            mae=float(np.abs(error).mean()),
            rmse=float(np.sqrt((error**2).mean())),
        )
    guess = score(metric, np.full(n, majority), labels, labels=count)
    table = np.zeros((count, count), dtype=int)
    np.add.at(table, (labels.astype(int), predictions.astype(int)), 1)
    right, real, said = np.diag(table), table.sum(axis=1), table.sum(axis=0)
    each = tuple(
        PerClass(
            *(name, int(real[i])),
            precision=float(right[i] / max(said[i], 1)),
            recall=float(right[i] / max(real[i], 1)),
            f1=float(2 * right[i] / max(said[i] + real[i], 1)),
        )
        for i, name in enumerate(meaning.classes)
    )
    return Tested(metric, value, low, high, n, guess, each, tuple(map(tuple, table.tolist())))


def interval(metric: str, predictions: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """The 95 % bootstrap interval of a metric over rows."""
    columns = sums.smallest(sums.columns(metric, predictions, labels))[None]
    values = sums.value(metric, weigh(resamples(len(labels), "test rows"), columns)[0], len(labels))
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
