"""What goes into one pass: whole batches of as many runs as fit, or part of one run's batch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True)
class Share:
    """Examples of one run's batch.

    Attributes:
        run: whose batch it is.
        data: the run's training examples: `Encoded`, or `Prompts` of a decoder.
        rows: of `data`.
        start: number of the first of them within the batch.
        weight: their share of the batch.
    """

    run: int
    data: Any
    rows: np.ndarray
    start: int = 0
    weight: float = 1.0

    def lengths(self) -> np.ndarray:
        """Tokens of each example."""
        return np.array([self.data.length(row) for row in self.rows])

    def labels(self) -> torch.Tensor:
        """Of each example."""
        return self.data.labels[torch.as_tensor(self.rows)]

    def split(self, count: int) -> tuple["Share", "Share"]:
        """The first `count` examples, and the others."""
        part = self.weight / len(self.rows)
        first, rest = self.rows[:count], self.rows[count:]
        return (
            Share(self.run, self.data, first, self.start, part * len(first)),
            Share(self.run, self.data, rest, self.start + count, part * len(rest)),
        )


def take(todo: Sequence[Share], tokens: int) -> tuple[list[Share], list[Share]]:
    """The shares of the next pass of at most `tokens` tokens (or one example), and those left."""
    chunk, total = [], 0
    for i, share in enumerate(todo):
        size = int(share.lengths().sum())
        if total + size <= tokens:
            chunk.append(share)
            total += size
            continue
        if chunk:
            return chunk, list(todo[i:])
        fit = max(1, int((np.cumsum(share.lengths()) <= tokens).sum()))
        if fit == len(share.rows):
            return [share], list(todo[1:])
        first, rest = share.split(fit)
        return [first], [rest, *todo[1:]]
    return chunk, []
