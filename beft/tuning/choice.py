"""Choose among candidates by what they reached on held-out folds. Numbers in, a choice out."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from beft.tuning.candidates import Candidate

LEVEL = 0.95


@dataclass(frozen=True)
class Outcome:
    """What a candidate reached on the folds that it was evaluated on."""

    candidate: Candidate
    epoch: int  # the epoch whose mean over the folds is best
    values: tuple[float, ...]  # the metric of each fold at that epoch

    @property
    def mean(self) -> float:
        return float(np.mean(self.values))


@dataclass(frozen=True)
class Difference:
    """A candidate minus another one, fold by fold."""

    mean: float
    error: float  # standard error of the mean
    low: float  # ends of the 95 % interval; infinite for one fold
    high: float

    @property
    def is_level(self) -> bool:
        """Whether the interval holds 0."""
        return self.low <= 0 <= self.high


def outcome(candidate: Candidate, curves: Sequence[Mapping[int, float]]) -> Outcome:
    """The best epoch of a candidate by its mean over folds; of equal ones the earliest.

    Args:
        curves: of each fold, epoch -> metric. An undefined metric counts as the worst.
    """
    shared = sorted(set.intersection(*(set(curve) for curve in curves)))
    values = np.array([[curve[epoch] for curve in curves] for epoch in shared])
    means = np.nan_to_num(values, nan=-1.0).mean(axis=1)
    best = int(means.argmax())
    return Outcome(candidate, shared[best], tuple(np.nan_to_num(values[best], nan=-1.0)))


def difference(one: Outcome, other: Outcome, held_out: float) -> Difference:
    """The mean of paired differences over folds, with an interval.

    Training parts of folds overlap, so folds vary less than new samples would. The variance is
    therefore multiplied by 1 / n + held out / trained on, instead of 1 / n (Nadeau and Bengio,
    Inference for the generalization error, 2003), and the interval is Student's.

    Args:
        held_out: the number of held-out examples of a fold divided by those trained on.
    """
    found = np.array(one.values) - np.array(other.values)
    n, mean = len(found), float(found.mean())
    if n < 2:
        return Difference(mean, math.inf, -math.inf, math.inf)
    error = float(math.sqrt(found.var(ddof=1) * (1 / n + held_out)))
    half = float(student.ppf((1 + LEVEL) / 2, n - 1)) * error
    return Difference(mean, error, mean - half, mean + half)


def choose(outcomes: Sequence[Outcome], held_out: float) -> Outcome:
    """The candidate of the best mean; at equal means the simplest.

    Where the best one trains a single term, another term that costs the same is taken instead if
    it comes first (v before q before k) and its mean is within one standard error.
    """
    best = max(outcomes, key=lambda o: (o.mean, [-s for s in o.candidate.simplicity]))
    alike = [
        o
        for o in outcomes
        if o.candidate.costs_as(best.candidate)
        and (o is best or (d := difference(best, o, held_out)).mean <= d.error)
    ]
    return min(alike, key=lambda o: (o.candidate.simplicity, -o.mean))
