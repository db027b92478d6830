"""Inert terms: biases that cannot change the output, found by the size of their gradient."""

import numpy as np

from beft.models.terms import PROJECTIONS

INERT_RATIO = 1e-4


def sizes(mean_abs: dict[str, np.ndarray]) -> dict[str, float]:
    """Mean absolute gradient of each term, over layers and elements."""
    return {term: float(np.mean(np.abs(g))) for term, g in mean_abs.items()}


def largest(size: dict[str, float]) -> float:
    """The size that the others are held against: the largest of q, k and v; 0 without them."""
    return max((size[t] for t in PROJECTIONS if t in size), default=0.0)


def inert_terms(mean_abs: dict[str, np.ndarray]) -> dict[str, str]:
    """Terms whose gradient is zero up to rounding, with the measurement in words.

    A term is inert when its mean absolute gradient is below `INERT_RATIO` times that of the
    largest of q, k and v. Without rotary positions a key bias adds one constant to all attention
    scores of a row, which softmax ignores: exactly zero in exact arithmetic, about 1e-7 of the
    others in float32.
    """
    size = sizes(mean_abs)
    top = largest(size)
    return {
        term: f"inert: mean |gradient| {value:.1e}, the largest of q, k, v has {top:.1e}"
        for term, value in size.items()
        if term in PROJECTIONS and value < INERT_RATIO * top
    }
