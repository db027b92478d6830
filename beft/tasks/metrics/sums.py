"""Metrics as functions of sums over examples, so that examples can be drawn again in a product.

Each example of a split gives a few numbers, its columns; the sums of the columns and the number of
examples give the metric. Columns of nothing but zeros at the end change no metric, so that runs
which know of different numbers of classes can be laid side by side.
"""

from collections.abc import Callable, Sequence
from typing import TypeGuard

import numpy as np
from numpy.typing import ArrayLike

from beft.tasks.metrics import answers
from beft.tasks.words import Words

CONSTANT = 1e-12  # a variance below this share of the mean square is rounding


References = Sequence[Words] | Sequence[float] | np.ndarray


def columns(
    metric: str, predictions: Sequence[int | str] | np.ndarray, references: References
) -> np.ndarray:
    """The terms of each example in the sums from which a metric is computed.

    Args:
        metric: a key of `METRICS`.
        predictions: classes or values; or of a decoder the candidates chosen, or texts generated.
        references: the right answers, (n,); or of a decoder the n examples in words.

    Returns:
        (n, k) float64:

        - accuracy and the metrics of answers: the example's own value;
        - f1: whether the class 1 is both predicted and right; how often it is either (0 to 2);
        - f1_macro: these two for each class;
        - matthews: whether it is right, then for each class whether it is predicted, and right;
        - pearson: x, y, x x, y y, x y of both sides, standardised;
        - spearman: the same of the ranks in this whole set, ties at their mean rank. Ranks are not
          taken anew when examples are drawn again;
        - question_exact_match: whether the group is right and 1, at its first example.

    Raises:
        ValueError: the metric is unknown, or a class is not a whole number of at least 0.
    """
    if metric not in METRICS:
        raise ValueError(f"unknown metric {metric!r}; choose one of {', '.join(METRICS)}")
    if _are_words(references):
        if metric in answers.EACH:
            found = answers.each(metric, list(predictions), references)
            return np.array(found, dtype=np.float64)[:, None]
        if metric == "question_exact_match":
            return _groups(list(predictions), references)
        references = [example.gold[0] for example in references]
    return _COLUMNS[metric](np.asarray(predictions), np.asarray(references)).astype(np.float64)


def _are_words(references: References) -> TypeGuard[Sequence[Words]]:
    return len(references) > 0 and isinstance(references[0], Words)


def value(metric: str, sums: ArrayLike, n: int) -> np.ndarray:
    """The metric of n examples, from the sums of their columns.

    Args:
        metric: a key of `METRICS`.
        sums: (..., k) of the columns of n examples.

    Returns:
        (...) fractions; where a formula divides by zero it is 0, as in `metrics.classes`.

    Raises:
        ValueError: the metric is unknown.
    """
    if metric not in METRICS:
        raise ValueError(f"unknown metric {metric!r}; choose one of {', '.join(METRICS)}")
    return METRICS[metric](np.asarray(sums, dtype=np.float64), n)


def least(metric: str) -> float:
    """The smallest value that a metric can have; the largest is 1."""
    return -1.0 if metric in ("matthews", "spearman", "pearson") else 0.0


def smallest(table: np.ndarray) -> np.ndarray:
    """The same numbers in the smallest type that holds them exactly."""
    for kind in (np.uint8, np.float32):
        with np.errstate(invalid="ignore", over="ignore"):
            small = table.astype(kind)
        if (small == table).all():
            return small
    return table


def _hits(predictions: np.ndarray, references: np.ndarray) -> np.ndarray:
    return (predictions == references)[:, None]


def _one_class(predictions: np.ndarray, references: np.ndarray) -> np.ndarray:
    return _per_class(predictions, references)[:, 2:4]


def _per_class(predictions: np.ndarray, references: np.ndarray) -> np.ndarray:
    """(n, 2 C): for each class, both predicted and right, and how often either; at least two."""
    ours, theirs = _one_hot(predictions, references)
    return np.stack([ours & theirs, ours.astype(int) + theirs], axis=2).reshape(len(ours), -1)


def _confusion(predictions: np.ndarray, references: np.ndarray) -> np.ndarray:
    pair = np.stack(_one_hot(predictions, references), axis=2).reshape(len(references), -1)
    return np.hstack([_hits(predictions, references), pair])


def _one_hot(predictions: np.ndarray, references: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    both = np.stack([predictions, references])
    if (both < 0).any() or (both != both.astype(np.int64)).any():
        raise ValueError("classes must be whole numbers from 0 on")
    classes = np.arange(max(2, both.max() + 1))
    return predictions[:, None] == classes, references[:, None] == classes


def _groups(predictions: Sequence[int | str], examples: Sequence[Words]) -> np.ndarray:
    right = answers.groups(predictions, examples)
    table, seen = np.zeros((len(examples), 2)), set()
    for row, example in enumerate(examples):
        key = example.group or row
        if key not in seen:
            seen.add(key)
            table[row] = right[key], 1
    return table


def _moments(predictions: np.ndarray, references: np.ndarray) -> np.ndarray:
    x, y = _standardised(predictions), _standardised(references)
    return np.stack([x, y, x * x, y * y, x * y], axis=1)


def _rank_moments(predictions: np.ndarray, references: np.ndarray) -> np.ndarray:
    from scipy.stats import rankdata

    return _moments(rankdata(predictions), rankdata(references))


def _standardised(values: np.ndarray) -> np.ndarray:
    """Mean 0 and deviation 1, so that sums of squares lose no digits; 0 where all are equal."""
    if (values == values[0]).all():
        return np.zeros(len(values))
    scaled = values.astype(np.float64) / np.abs(values).max()  # squares of huge ones overflow
    centred = scaled - scaled.mean()
    return centred / centred.std()


def _mean(sums: np.ndarray, n: int) -> np.ndarray:
    return sums[..., 0] / n


def _share(sums: np.ndarray, n: int) -> np.ndarray:
    return _ratio(sums[..., 0], sums[..., 1])


def _f1(sums: np.ndarray, n: int) -> np.ndarray:
    return _ratio(2 * sums[..., 0], sums[..., 1])


def _macro(sums: np.ndarray, n: int) -> np.ndarray:
    classes = sums.reshape(*sums.shape[:-1], -1, 2)
    return _ratio(_f1(classes, n).sum(axis=-1), (classes[..., 1] > 0).sum(axis=-1))


def _matthews(sums: np.ndarray, n: int) -> np.ndarray:
    """Gorodkin's coefficient of C classes; for two it is Matthews' own."""
    ours, theirs = sums[..., 1::2], sums[..., 2::2]
    spread = (n * n - (ours * ours).sum(axis=-1)) * (n * n - (theirs * theirs).sum(axis=-1))
    return _ratio(sums[..., 0] * n - (ours * theirs).sum(axis=-1), np.sqrt(spread))


def _correlation(sums: np.ndarray, n: int) -> np.ndarray:
    x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    left, right = n * xx - x * x, n * yy - y * y
    varied = (left > CONSTANT * n * xx) & (right > CONSTANT * n * yy)
    found = _ratio(n * xy - x * y, np.sqrt(np.where(varied, left * right, 0)))
    return np.clip(found, -1, 1)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.zeros(np.shape(below)), where=below > 0)


_COLUMNS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "accuracy": _hits,
    "f1": _one_class,
    "f1_macro": _per_class,
    "matthews": _confusion,
    "spearman": _rank_moments,
    "pearson": _moments,
}

MEANS = frozenset(answers.EACH)  # metrics that are linear in their sums

METRICS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    **dict.fromkeys(answers.EACH, _mean),
    "f1": _f1,
    "f1_macro": _macro,
    "matthews": _matthews,
    "spearman": _correlation,
    "pearson": _correlation,
    "question_exact_match": _share,
}
