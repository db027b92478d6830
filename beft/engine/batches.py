"""Batches of examples: padded, by their number of tokens, and of a fixed size."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch

from beft.data.encoded import Encoded


class Measured(Protocol):
    """Examples, or groups of them."""

    def __len__(self) -> int: ...

    def length(self, row: int, /) -> int:
        """Tokens of one."""


def collate(data: Encoded, rows: np.ndarray, pad: int, device: str) -> dict[str, torch.Tensor]:
    """One batch, padded to its longest example: model inputs (B, T) and `labels` (B,)."""
    width = max(len(data.ids[r]) for r in rows)
    ids = torch.full((len(rows), width), pad, dtype=torch.int64)
    mask = torch.zeros((len(rows), width), dtype=torch.int64)
    batch = {"input_ids": ids, "attention_mask": mask, "labels": data.labels[torch.as_tensor(rows)]}
    if data.types is not None:
        batch["token_type_ids"] = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        length = len(data.ids[row])
        ids[i, :length] = torch.tensor(data.ids[row])
        mask[i, :length] = 1
        if data.types is not None:
            batch["token_type_ids"][i, :length] = torch.tensor(data.types[row])
    return {key: value.to(device) for key, value in batch.items()}


def by_tokens(data: Measured, budget: int) -> Iterator[np.ndarray]:
    """Rows in batches of at most `budget` tokens (or one example), longest first.

    Neighbours have similar lengths, so that padding them costs little, and the first batch needs
    the most memory.
    """
    rows = np.argsort([-data.length(row) for row in range(len(data))], kind="stable")
    start, total = 0, 0
    for end, row in enumerate(rows):
        total += data.length(row)
        if total > budget and end > start:
            yield rows[start:end]
            start, total = end, data.length(row)
    yield rows[start:]


def chunks(rows: np.ndarray, batch_size: int) -> Iterator[np.ndarray]:
    """Consecutive batches of given rows; the last one may be smaller."""
    for start in range(0, len(rows), batch_size):
        yield rows[start : start + batch_size]
