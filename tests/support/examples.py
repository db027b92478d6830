"""Tokenised examples for tests that need no text."""

import numpy as np
import torch

from beft.data.encoded import Encoded


def encoded(n: int, seed: int, labels: int = 2) -> Encoded:
    """Random sentences of 3 to 9 tokens whose label depends on their tokens."""
    rng = np.random.default_rng(seed)
    ids = [[2, *rng.integers(80, 100, rng.integers(1, 8)).tolist(), 3] for _ in range(n)]
    values = [sum(i) for i in ids]
    target = (
        torch.tensor([v % labels for v in values]) if labels > 1 else torch.tensor(values) / 1e3
    )
    return Encoded(ids, [[0] * len(i) for i in ids], target)
