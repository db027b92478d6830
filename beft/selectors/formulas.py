"""Turn bias snapshots or gradients into an importance score per layer, and scores into a choice.

Arrays in, scores out: nothing here knows of models, files or tasks. Anything numpy can read and
any torch tensor is welcome; the arithmetic is float64. A term is scored on its own, so terms of
different width (grouped-query attention) need no special care.

A layer whose input holds NaN or an infinity scores NaN. An undefined score is never dropped from a
mean (`term_score`), and takes no place in a ranking (`ranks`, `select`). An array that is empty or
not of the shape a function asks for is a ValueError that names its shape.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from beft.models.terms import PROJECTIONS


def projection(pre: ArrayLike, post: ArrayLike) -> np.ndarray:
    """Score each layer by how far the shorter bias falls short when projected onto the longer one.

    `1 - <pre, post> / max(|pre|, |post|)**2`, the case equations of section 2.1. The combined
    equation there prints the maximum without its square, which contradicts both cases; see
    `projection_printed`.

    The score lies between 0 (same vector) and 2 (opposite vectors of equal length): 1 for
    orthogonal vectors, above 1 for angles over 90 degrees. It is 1 when one of the vectors is zero
    (a bias added to a bias-free model) and NaN when both are.

    Args:
        pre: biases before fine-tuning, (layers, width).
        post: biases after fine-tuning, same shape.

    Returns:
        Scores, (layers,).
    """
    pre, post, _ = _scaled_pair(pre, post)
    pre_longer = _dot(pre, pre) >= _dot(post, post)
    longer = np.where(pre_longer[:, None], pre, post)
    shorter = np.where(pre_longer[:, None], post, pre)
    # <a, a - b> / <a, a> is 1 - <a, b> / <a, a> without the cancellation: fine-tuning often moves a
    # bias by so little that the ratio is 1 to many digits.
    with np.errstate(invalid="ignore"):
        scores = _dot(longer, longer - shorter) / _dot(longer, longer)
    return np.clip(scores, 0.0, 2.0)  # rounding may step outside; NaN stays NaN


def projection_printed(pre: ArrayLike, post: ArrayLike) -> np.ndarray:
    """Score each layer by the combined equation of section 2.1 as printed, without the square.

    `1 - <pre, post> / max(|pre|, |post|)`, for comparison with `projection`, which is the selector
    that the text describes. This form is not a ratio: it has no bounds, changes with the unit of
    the bias, and is not 0 for an unchanged bias. One zero vector gives 1 and two give NaN.

    Args:
        pre: biases before fine-tuning, (layers, width).
        post: biases after fine-tuning, same shape.

    Returns:
        Scores, (layers,).
    """
    pre, post, exponent = _scaled_pair(pre, post)
    longest = np.sqrt(np.maximum(_dot(pre, pre), _dot(post, post)))
    with np.errstate(invalid="ignore", over="ignore"):
        return 1.0 - np.ldexp(_dot(pre, post) / longest, exponent)


def magnitude(pre: ArrayLike, post: ArrayLike) -> np.ndarray:
    """Score each layer by the L1 norm of the change, `|post - pre|_1` (section 2.2).

    The sum grows with the width, so a wide term outranks a narrow one that moved as much per
    element. The authors' code divides by the width; the order among terms of equal width is the
    same. Two zero vectors score 0: nothing moved.

    Args:
        pre: biases before fine-tuning, (layers, width).
        post: biases after fine-tuning, same shape.

    Returns:
        Scores, (layers,), in the unit of the bias.
    """
    pre, post = _pair(pre, post)
    with np.errstate(invalid="ignore", over="ignore"):
        scores = np.abs(post - pre).sum(axis=1)
    return np.where(_finite(pre, post), scores, np.nan)


def fisher(grads: ArrayLike) -> np.ndarray:
    """Score each layer by the diagonal empirical Fisher information of its bias (section 2.2).

    The mean over examples and over the elements of the vector of the squared gradient of
    `log p(y_i | x_i)`, taken at the pre-trained biases. The formula leaves open what the square of
    a vector is; the mean over elements makes terms of different width comparable. The sign of the
    gradient does not matter, so gradients of the loss `-log p` serve as well.

    Args:
        grads: one gradient per example, (examples, layers, width).

    Returns:
        Scores, (layers,).
    """
    return _mean_square(_array(grads, "grads", ("examples", "layers", "width")))


def fisher_of_mean_squares(mean_squares: ArrayLike) -> np.ndarray:
    """Finish `fisher` from squared gradients that were averaged over the examples as they came.

    Equal to `fisher(grads)` when `mean_squares`, (layers, width), is the mean over i of
    `grads[i] ** 2`, so the gradients of all examples need not be kept.

    Returns:
        Scores, (layers,).

    Raises:
        ValueError: a value is negative, so these cannot be squares.
    """
    values = _array(mean_squares, "mean_squares", ("layers", "width"))
    if (values < 0).any():
        raise ValueError(
            "mean_squares holds negative values; pass squared gradients, not gradients"
        )
    with np.errstate(invalid="ignore", over="ignore"):
        scores = values.mean(axis=1)
    return np.where(_finite(values), scores, np.nan)


def fisher_batch(batch_grads: ArrayLike) -> np.ndarray:
    """Score each layer like `fisher`, but from gradients of batch means, as the authors' code does.

    There, a batch is 8 examples and its gradient that of the mean loss, clipped to a global norm
    of 1; the caller does both. Opposite gradients cancel in a batch before they are squared, so
    this is not the Fisher information; use it for parity only. Every batch weighs the same, a short
    last one too.

    Args:
        batch_grads: one clipped gradient per batch, (batches, layers, width).

    Returns:
        Scores, (layers,).
    """
    return _mean_square(_array(batch_grads, "batch_grads", ("batches", "layers", "width")))


@dataclass(frozen=True)
class Selector:
    """A way to score the layers of one term, and what it is computed from."""

    # Takes (pre, post) if it needs snapshots, (grads) if it needs gradients.
    score: Callable[..., np.ndarray]
    # "snapshots" of the biases before and after a run, or "gradients" before any training.
    needs: Literal["snapshots", "gradients"]


SELECTORS: dict[str, Selector] = {
    "projection": Selector(projection, needs="snapshots"),
    "projection_printed": Selector(projection_printed, needs="snapshots"),
    "magnitude": Selector(magnitude, needs="snapshots"),
    "fisher": Selector(fisher, needs="gradients"),
    "fisher_batch": Selector(fisher_batch, needs="gradients"),
}


def term_score(layer_scores: ArrayLike) -> float:
    """Average the scores of a term's layers, the outer sum of every equation of section 2.

    NaN as soon as one of the (layers,) scores is: a mean over the others would look like a number
    about the whole model. A zero bias left untouched in one layer is such a case for `projection`.
    """
    return float(_array(layer_scores, "layer_scores", ("layers",)).mean())


def ranks(scores: Mapping[str, float]) -> dict[str, int | None]:
    """Rank the terms; 1 is the most important.

    Equal scores share the better rank and the next rank is skipped (1, 1, 3). An undefined score
    (NaN) gets None and takes no place.
    """
    known = sorted((score for score in scores.values() if not math.isnan(score)), reverse=True)
    return {
        term: None if math.isnan(score) else 1 + known.index(score)
        for term, score in scores.items()
    }


def select(scores: Mapping[str, float], among: Sequence[str] = PROJECTIONS) -> str | None:
    """Choose the target bias: the term with the highest score (the argmax of section 2.1).

    Terms that are undefined (NaN) or were not scored, because a study skips them, cannot be chosen.
    Of equal scores the term named first in `among` wins.

    Returns:
        The term, or None when none of `among` has a score.
    """
    candidates = [term for term in among if not np.isnan(scores.get(term, np.nan))]
    return max(candidates, key=scores.__getitem__, default=None)


def _array(values: ArrayLike, name: str, axes: tuple[str, ...]) -> np.ndarray:
    if hasattr(values, "detach"):  # numpy refuses torch tensors that need gradients or are bfloat16
        values = values.detach().cpu().double()
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != len(axes) or array.size == 0:
        expected = ", ".join(axes)
        raise ValueError(f"{name} must be a non-empty ({expected}) array, got shape {array.shape}")
    return array


def _pair(pre: ArrayLike, post: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    pre = _array(pre, "pre", ("layers", "width"))
    post = _array(post, "post", ("layers", "width"))
    if pre.shape != post.shape:
        raise ValueError(f"pre and post differ in shape: {pre.shape} and {post.shape}")
    return pre, post


def _scaled_pair(pre: ArrayLike, post: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bring each layer's largest entry near 1, so that no square overflows or vanishes.

    The divisor is a power of two, so no digit is lost. A layer that is not finite becomes two zero
    vectors, so that its score is 0/0, which is NaN.

    Returns:
        pre and post (layers, width), and the exponents of the divisors (layers,).
    """
    pre, post = _pair(pre, post)
    finite = _finite(pre, post)
    pre, post = (np.where(finite[:, None], bias, 0.0) for bias in (pre, post))
    exponent = np.frexp(np.maximum(np.abs(pre), np.abs(post)).max(axis=1))[1]
    return np.ldexp(pre, -exponent[:, None]), np.ldexp(post, -exponent[:, None]), exponent


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(axis=1)


def _mean_square(grads: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", over="ignore"):
        scores = np.square(grads).mean(axis=(0, 2))
    return np.where(_finite(grads.swapaxes(0, 1)), scores, np.nan)


def _finite(*arrays: np.ndarray) -> np.ndarray:
    """Say which layers (the first axis) hold only finite values in every array."""
    return np.all([np.isfinite(a).reshape(len(a), -1).all(axis=1) for a in arrays], axis=0)
