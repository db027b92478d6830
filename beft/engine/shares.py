"""Contents of one pass: whole batches of as many runs as fit, or a part of one run's batch."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Generic

import numpy as np
import torch

from beft.engine.base import Data
from beft.engine.memory import Found, Passes


@dataclass(frozen=True)
class Share(Generic[Data]):
    """Some examples of one run's batch."""

    run: int  # the run whose batch it is
    data: Data  # the run's training examples
    rows: np.ndarray  # of `data`, (n,)
    start: int = 0  # number of the first of them within the batch
    weight: float = 1.0  # fraction of the batch, in (0, 1]
    whole: bool = False  # whether it must not be split: its loss is not a sum over examples

    def lengths(self) -> np.ndarray:
        """Tokens of each example, (n,)."""
        return np.array([self.data.length(row) for row in self.rows])

    def split(self, count: int) -> tuple["Share[Data]", "Share[Data]"]:
        """The first `count` examples, and the others."""
        part = self.weight / len(self.rows)
        first, rest = self.rows[:count], self.rows[count:]
        return (
            replace(self, rows=first, weight=part * len(first)),
            replace(self, rows=rest, start=self.start + count, weight=part * len(rest)),
        )


def in_passes(
    todo: list[Share[Data]],
    passes: Passes,
    work: Callable[[list[Share[Data]]], Found],
    shrink: Callable[[list[Share[Data]], Exception], None],
) -> Iterator[tuple[list[Share[Data]], Found]]:
    """The shares of each pass with the result of `work` on them.

    Args:
        shrink: called after a pass that did not fit into memory; makes the next ones smaller.
    """
    while todo:
        chunk, rest = take(todo, passes.tokens)
        try:
            found = work(chunk)
        except torch.OutOfMemoryError as error:
            shrink(chunk, error)
            continue
        yield chunk, found
        todo = rest


def take(todo: Sequence[Share[Data]], tokens: int) -> tuple[list[Share[Data]], list[Share[Data]]]:
    """The shares of the next pass of at most `tokens` tokens, and those left.

    A pass has one example, or one share that must not be split, however many tokens these have.
    """
    chunk: list[Share[Data]] = []
    total = 0
    for i, share in enumerate(todo):
        size = int(share.lengths().sum())
        if total + size <= tokens:
            chunk.append(share)
            total += size
            continue
        if chunk:
            return chunk, list(todo[i:])
        fit = max(1, int((np.cumsum(share.lengths()) <= tokens).sum()))
        if share.whole or fit == len(share.rows):
            return [share], list(todo[1:])
        first, rest = share.split(fit)
        return [first], [rest, *todo[1:]]
    return chunk, []
