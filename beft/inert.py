"""Inert terms: biases that cannot change the output, found by the size of their gradient."""

import numpy as np

INERT_RATIO = 1e-4


def inert_terms(mean_abs: dict[str, np.ndarray]) -> dict[str, str]:
    """Terms whose gradient is zero up to rounding, with the measurement in words.

    A term is inert when its mean absolute gradient is below `INERT_RATIO` times that of the
    largest of q, k and v. Without rotary positions a key bias adds one constant to all attention
    scores of a row, which softmax ignores: exactly zero in exact arithmetic, about 1e-7 of the
    others in float32.
    """
    size = {term: float(np.mean(np.abs(g))) for term, g in mean_abs.items()}
    largest = max((size[t] for t in ("q", "k", "v") if t in size), default=0.0)
    return {
        term: f"inert: mean |gradient| {value:.1e}, the largest of q, k, v has {largest:.1e}"
        for term, value in size.items()
        if term in ("q", "k", "v") and value < INERT_RATIO * largest
    }
