"""Metrics of what decoders answer: candidates they choose, and text they generate."""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from beft.tasks.metrics import classes, drop
from beft.tasks.metrics.drop import ARTICLES, PUNCTUATION, Scores, Spans
from beft.tasks.words import Words


def score_words(metric: str, predictions: Sequence[int | str], examples: Sequence[Words]) -> float:
    """Computes one metric of one set of predictions.

    Args:
        metric: a key of `METRICS`.
        predictions: the indices of the chosen candidates, or the generated texts.
        examples: the examples, in the same order.

    Returns:
        A fraction: 0 to 1, or -1 to 1 for matthews.

    Raises:
        ValueError: the metric is unknown, nothing was predicted, or lengths differ.
    """
    if metric not in METRICS:
        raise ValueError(f"unknown metric {metric!r}; choose one of {', '.join(METRICS)}")
    if not len(examples) or len(predictions) != len(examples):
        raise ValueError(f"{len(predictions)} predictions for {len(examples)} examples")
    return float(METRICS[metric](predictions, examples))


def each(metric: str, predictions: Sequence[int | str], examples: Sequence[Words]) -> list[float]:
    """The values of all examples of a metric that is their mean, a key of `EACH`."""
    return [EACH[metric](p, e) for p, e in zip(predictions, examples, strict=True)]


def _mean_of(metric: str, predictions: Sequence[int | str], examples: Sequence[Words]) -> float:
    found = each(metric, predictions, examples)
    return sum(found) / len(found)


def _right(prediction: int | str, example: Words) -> float:
    """1 where the chosen candidate is a right one."""
    return float(prediction in example.gold)


def _of_classes(metric: str, predictions: Sequence[int | str], examples: Sequence[Words]) -> float:
    """A metric of classes, where each example has one that is right."""
    return classes.score(metric, np.asarray(predictions), [e.gold[0] for e in examples])


def _question_exact_match(predictions: Sequence[int | str], examples: Sequence[Words]) -> float:
    """The fraction of groups whose examples are all right."""
    right = groups(predictions, examples)
    return sum(right.values()) / len(right)


def groups(predictions: Sequence[int | str], examples: Sequence[Words]) -> dict[str | int, bool]:
    """Whether all examples of each group are right; an example without one is a group itself."""
    right: dict[str | int, bool] = {}
    for i, (prediction, example) in enumerate(zip(predictions, examples, strict=True)):
        key = example.group or i
        right[key] = right.get(key, True) and prediction in example.gold
    return right


Compare = Callable[[Spans, Spans], float]
Rule = Callable[[str, Spans], Scores]


def _over_golds(compare: Compare, prediction: int | str, example: Words) -> float:
    """The best comparison with a gold answer."""
    said = _said(prediction, example)
    return max(compare(said, example.said(gold)) for gold in example.gold)


def _said(prediction: int | str, example: Words) -> Spans:
    return (prediction,) if isinstance(prediction, str) else example.said(prediction)


# SQuAD, and ReCoRD, which is scored as SQuAD is.


def normalise_squad(text: str) -> str:
    """Lower case, without punctuation and articles, white space single."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def exact_match(predicted: str, gold: str) -> float:
    """1 where both are the same but for case, punctuation, articles and white space."""
    return float(normalise_squad(predicted) == normalise_squad(gold))


def answer_f1(predicted: str, gold: str) -> float:
    """F1 of the words that both share, counted as often as they occur.

    Where one of them has no words left (the answer is an article), it is 1 for both empty, else 0,
    as in the second version of the official script; the first had 0 for both empty.
    """
    ours, theirs = normalise_squad(predicted).split(), normalise_squad(gold).split()
    if not ours or not theirs:
        return float(ours == theirs)
    shared = sum((Counter(ours) & Counter(theirs)).values())
    return 2 * shared / (len(ours) + len(theirs))


# DROP.


def _drop(place: int, rule: Rule, prediction: int | str, example: Words) -> float:
    """Exact match (0) or F1 (1) with the best gold answer.

    Args:
        rule: how to compare with spans that may be several answers.
    """
    compare = rule if example.run_together else drop.scores
    (said,) = _said(prediction, example)
    return max(compare(said, example.said(gold))[place] for gold in example.gold)


Metric = Callable[[Sequence[int | str], Sequence[Words]], float]

# Metrics that are a mean over examples -> the value of one example.
EACH: dict[str, Callable[[int | str, Words], float]] = {
    "accuracy": _right,
    "answer_f1": partial(_over_golds, lambda said, gold: answer_f1(said[0], gold[0])),
    "exact_match": partial(_over_golds, lambda said, gold: exact_match(said[0], gold[0])),
    "drop_f1": partial(_drop, 1, drop.most),
    "drop_exact_match": partial(_drop, 0, drop.most),
    "drop_f1_least": partial(_drop, 1, drop.least),
    "drop_exact_match_least": partial(_drop, 0, drop.least),
}

METRICS: dict[str, Metric] = {
    **{name: partial(_mean_of, name) for name in EACH},
    "f1": partial(_of_classes, "f1"),
    "f1_macro": partial(_of_classes, "f1_macro"),
    "matthews": partial(_of_classes, "matthews"),
    "question_exact_match": _question_exact_match,
}
