"""How far apart the biases of two runs point."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from beft.tasks.words import Plain

Biases = Mapping[str, ArrayLike]  # term -> (layers, width)


def between(
    one: tuple[Biases, Biases], other: tuple[Biases, Biases], terms: Sequence[str]
) -> Plain:
    """Angles between what two runs tuned (`tuned`), and between what they added (`shift`).

    Tuned biases start from the same pretrained ones, which they share; shifts do not.

    Args:
        one, other: the biases of a run before and after.
        terms: those that the runs tuned.
    """
    (pre, post), (other_pre, other_post) = one, other
    return {
        "tuned": angles(post, other_post, terms),
        "shift": angles(_shift(pre, post, terms), _shift(other_pre, other_post, terms), terms),
    }


def angles(one: Biases, other: Biases, terms: Sequence[str]) -> Plain:
    """Angles between two runs' biases: of all layers as one vector, and of each layer.

    Returns:
        `cosine` and `degrees`, and the same of each layer in `layers`; None where one is zero.
    """
    first, second = (
        np.concatenate([np.asarray(b[term], np.float64) for term in terms], axis=1)
        for b in (one, other)
    )
    layers = [_angle(a, b) for a, b in zip(first, second, strict=True)]
    return {**_angle(first.ravel(), second.ravel()), "layers": layers}


def _shift(pre: Biases, post: Biases, terms: Sequence[str]) -> dict[str, np.ndarray]:
    return {t: np.asarray(post[t], np.float64) - np.asarray(pre[t], np.float64) for t in terms}


def _angle(one: np.ndarray, other: np.ndarray) -> dict[str, float | None]:
    norms = float(np.linalg.norm(one)) * float(np.linalg.norm(other))
    if norms == 0:
        return {"cosine": None, "degrees": None}
    # Rounded first: near 1, the last bit of a cosine is a part in a million of a degree.
    cosine = round(min(1.0, max(-1.0, float(one @ other) / norms)), 9)
    return {"cosine": cosine, "degrees": round(math.degrees(math.acos(cosine)), 6)}
