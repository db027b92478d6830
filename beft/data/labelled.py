"""The right answers of an encoder's examples, and metrics of predictions on them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from beft.tasks.metrics import sums
from beft.tasks.metrics.classes import score


@dataclass(frozen=True)
class Labelled:
    """Examples of which only the labels are known."""

    labels: np.ndarray  # classes or values, (n,)

    def evaluate(self, predictions: np.ndarray, metrics: Sequence[str]) -> dict[str, float]:
        """Computes each metric as a fraction; NaN if a prediction is not finite."""
        if not np.isfinite(predictions).all():
            return dict.fromkeys(metrics, float("nan"))
        return {metric: score(metric, predictions, self.labels) for metric in metrics}

    def columns(self, predictions: np.ndarray, metric: str) -> np.ndarray:
        """What each example adds to the sums of a metric, (n, k); see `beft.tasks.metrics.sums`."""
        return sums.columns(metric, predictions, self.labels)
