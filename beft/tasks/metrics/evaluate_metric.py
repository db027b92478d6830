"""The metrics as `evaluate.Metric`, for training code that expects one.

`evaluate.load` downloads metric scripts, so it fails on a compute node. This class needs no
network.
"""

from pathlib import Path

import datasets
import evaluate
from numpy.typing import ArrayLike

from beft.tasks.metrics.classes import METRICS, score


class OfflineMetric(evaluate.Metric):
    """One metric of `classes.METRICS`: `compute(predictions=..., references=...)` -> {name: score}.

    It keeps everything in memory and writes no file, so any number of processes can score at once.
    """

    def __init__(self, metric: str) -> None:
        """Names the metric, for example "matthews".

        Raises:
            ValueError: the metric is unknown.
        """
        if metric not in METRICS:
            raise ValueError(f"unknown metric {metric!r}; choose one of {', '.join(METRICS)}")
        self.metric = metric
        super().__init__(keep_in_memory=True)

    def _build_data_dir(self) -> str:
        # The base class creates this directory even when it keeps everything in memory.
        return str(Path(self._data_dir_root, self.name, self.config_name))

    def _info(self) -> evaluate.MetricInfo:
        value = datasets.Value("float64")  # also for classes: int64 would cut 0.7 to 0 unasked
        return evaluate.MetricInfo(
            description=METRICS[self.metric].__doc__,
            citation="",
            inputs_description="predictions and references: one number per example, same order.",
            features=datasets.Features({"predictions": value, "references": value}),
        )

    def _compute(
        self, *, predictions: ArrayLike, references: ArrayLike, labels: int | None = None
    ) -> dict[str, float]:
        return {self.metric: score(self.metric, predictions, references, labels)}
