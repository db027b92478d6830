"""An encoder's examples as tokens: each split is tokenised once, without padding."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch

from beft.tasks.metrics import sums
from beft.tasks.metrics.classes import score
from beft.tasks.words import fields


@dataclass(frozen=True)
class Encoded:
    """Tokenised examples.

    Attributes:
        ids: token ids of each example, without padding.
        types: segment numbers of each token; None where the tokenizer gives none.
        labels: (n,) int64 classes or float32 values.
    """

    ids: list[list[int]]
    types: list[list[int]] | None
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.ids)

    def length(self, row: int) -> int:
        """Tokens of an example."""
        return len(self.ids[row])

    def decide(self, logits: np.ndarray) -> np.ndarray:
        """Predictions: the best class (n,) int64, or the value itself (n,) float32."""
        return logits[:, 0] if logits.shape[1] == 1 else logits.argmax(axis=1)

    def evaluate(self, predictions: np.ndarray, metrics: Sequence[str]) -> dict[str, float]:
        """Each metric as a fraction; predictions that are not finite score NaN."""
        if not np.isfinite(predictions).all():
            return dict.fromkeys(metrics, float("nan"))
        return {metric: score(metric, predictions, self.labels.numpy()) for metric in metrics}

    def columns(self, predictions: np.ndarray, metric: str) -> np.ndarray:
        """What each example adds to a metric's sums, (n, k); see `beft.tasks.metrics.sums`."""
        return sums.columns(metric, predictions, self.labels.numpy())

    def take(self, rows: np.ndarray) -> "Encoded":
        """The examples at these rows, in this order."""
        types = None if self.types is None else [self.types[r] for r in rows]
        return Encoded([self.ids[r] for r in rows], types, self.labels[torch.as_tensor(rows)])


def segments(table: pa.Table, text: list[str]) -> list[list[str]]:
    """The texts of each segment: a column's values, or a template filled from columns."""
    result = []
    for entry in text:
        names = fields(entry)
        columns = [table[name].to_pylist() for name in names]
        if names != [entry]:
            pieces = re.split(r"\{[^{}]+\}", entry)
            columns = [[_fill(pieces, values) for values in zip(*columns, strict=True)]]
        result.append(columns[0])
    return result


def _fill(pieces: list[str], values: tuple[str, ...]) -> str:
    return "".join(p + v for p, v in zip(pieces, (*values, ""), strict=True))


def encode(table: pa.Table, task: dict, tokenizer, max_length: int) -> Encoded:
    """Tokenises a split of a task (`Task.to_dict`), truncating the longer segment first."""
    out = tokenizer(
        *segments(table, task["text"]), truncation=True, max_length=max_length, padding=False
    )
    dtype = torch.int64 if task["labels"] else torch.float32
    labels = torch.tensor(table[task["label"]].to_pylist(), dtype=dtype)
    return Encoded(out["input_ids"], out.get("token_type_ids"), labels)
