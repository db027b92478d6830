"""The test at the end: the metric of the test rows, its interval, and what guessing would give."""

from dataclasses import dataclass

import numpy as np

from beft.report.statistics.resampling import resamples, weigh
from beft.tasks.metrics import sums
from beft.tasks.metrics.classes import score
from beft.tuning.examples import Meaning
from beft.tuning.scores import ClassScore, by_class, confusion, of_values


@dataclass(frozen=True)
class Tested:
    """What the test rows say of a tuned model."""

    metric: str
    value: float  # a fraction
    low: float  # ends of the 95 % bootstrap interval over test rows
    high: float
    guess: float | None  # the metric of always the pool's commonest class; None for a regression
    truth: np.ndarray  # (n,) positions of classes; values of a regression, in the label's own unit
    predicted: np.ndarray  # likewise
    classes: tuple[ClassScore, ...]  # empty for a regression
    errors: dict[str, float]  # `scores.of_values` of a regression


def score_rows(
    metric: str, predicted: np.ndarray, truth: np.ndarray, majority: int, meaning: Meaning
) -> Tested:
    """Scores the predictions of the test rows.

    Args:
        predicted, truth: (n,) positions of classes; values of a regression, in the label's unit.
        majority: the commonest class of the rows that were trained on.
    """
    count = len(meaning.classes)
    value = score(metric, predicted, truth, labels=count or None)
    ends = interval(metric, predicted, truth)
    if not count:
        errors = of_values(truth, predicted)
        return Tested(metric, value, *ends, None, truth, predicted, (), errors)
    guess = score(metric, np.full(len(truth), majority), truth, labels=count)
    each = by_class(confusion(truth, predicted, count), meaning.classes)
    return Tested(metric, value, *ends, guess, truth, predicted, each, {})


def interval(metric: str, predicted: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """The 95 % bootstrap interval of a metric over rows."""
    n, columns = len(truth), sums.smallest(sums.columns(metric, predicted, truth))[None]
    values = sums.value(metric, weigh(resamples(n, "test rows"), columns)[0], n)
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
