"""DROP's metrics, by the rules of its official evaluator, for answers that may be run together.

The evaluator compares an answer with that of each annotator and takes the best. The dataset on the
hub writes the answers of all annotators one after the other, without saying where one ends. So
there are two numbers: with every answer that the spans may hold, and with the fewest.
"""

import re
import string
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

import numpy as np

Spans = tuple[str, ...]
Scores = tuple[float, float]  # exact match and F1

CACHED = 2**14  # texts and pairs of texts that are remembered: runs of spans have them in common

PUNCTUATION = str.maketrans("", "", string.punctuation)
ARTICLES = re.compile(r"\b(a|an|the)\b")


def most(predicted: str, spans: Spans) -> Scores:
    """The best scores over all runs of spans that follow each other.

    Each annotator's own answer is one of them, so it scores 1. No reading of the spans scores more.
    """
    ends = range(1, len(spans) + 1)
    runs = [spans[start:end] for end in ends for start in range(end)]
    return _each(max, [scores(predicted, run) for run in runs])


def least(predicted: str, spans: Spans) -> Scores:
    """The smallest scores over all ways to divide the spans into answers; the best answer counts.

    No answer has the same span twice. So what the official evaluator gives, which knows each
    annotator's answer, lies between this and `most`.
    """
    texts = [_plain(span) for span in spans]
    found: list[Scores] = [(0.0, 0.0)]  # of the first spans, by their number
    for end in range(1, len(spans) + 1):
        ways = [
            _each(max, [found[start], scores(predicted, spans[start:end])])
            for start in range(end)
            if len(set(texts[start:end])) == end - start
        ]
        found.append(_each(min, ways))
    return found[-1]


def _each(choose: Callable[[Iterable[float]], float], values: Sequence[Scores]) -> Scores:
    return choose(v[0] for v in values), choose(v[1] for v in values)


def scores(predicted: str, gold: Spans) -> Scores:
    """Exact match and F1 of a generated answer and one gold answer.

    Text has no spans: where the gold answer has several, the text is divided at ", " (which is how
    several spans are trained to be written), else it is one span. Each is a set of words: lower
    case, split at spaces and hyphens (so that a sign is lost), without articles; numbers are
    compared by value, other words lose punctuation. F1 is the mean over spans under the best
    one-to-one assignment, where spans without a partner count 0, as does one that has none of the
    numbers of its gold span; it is rounded to two digits, as the official evaluator does.
    """
    from scipy.optimize import linear_sum_assignment

    spans = _divided(predicted, gold) if len(gold) > 1 else [predicted]
    match = len(spans) == len(gold) and set(map(_plain, spans)) == set(map(_plain, gold))
    table = np.array([[_f1(ours, theirs) for ours in spans] for theirs in gold])
    best = table[linear_sum_assignment(table, maximize=True)].sum()
    return float(match), round(float(best) / max(table.shape), 2)


def _divided(text: str, gold: Spans) -> list[str]:
    """The parts of a text between ", ", but a gold span that holds ", " itself is one part."""
    whole = sorted((span.lower() for span in gold if ", " in span), key=len, reverse=True)
    parts, rest = [], text.lower().lstrip()
    while True:
        part = next((w for w in whole if f"{rest}, ".startswith(f"{w}, ")), rest.partition(", ")[0])
        parts.append(part)
        if len(part) >= len(rest):
            return parts
        rest = rest[len(part) + 2 :]


@lru_cache(maxsize=CACHED)
def _plain(text: str) -> str:
    """The words of a span, a space between two."""
    return " ".join(" ".join(_word(token) for token in re.split(" |-", text.lower())).split())


def _word(token: str) -> str:
    token = token if _is_number(token) else token.translate(PUNCTUATION)
    token = str(float(token)) if _is_number(token) else token
    return ARTICLES.sub(" ", token)


def _is_number(token: str) -> bool:
    try:
        float(token)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=CACHED)
def _f1(predicted: str, gold: str) -> float:
    ours, theirs = set(_plain(predicted).split()), set(_plain(gold).split())
    numbers = {word for word in theirs if _is_number(word)}
    if numbers and not numbers & ours:
        return 0.0
    shared = len(ours & theirs)
    precision = shared / len(ours) if ours else 1.0
    recall = shared / len(theirs) if theirs else 1.0
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0
