"""Intervals and tests by resampling: arrays in, numbers out.

A metric is a function of sums of columns over examples (`beft.tasks.metrics.sums`), so every
resample is a row of weights and all of them are one product with the columns. Weights follow from
names through a hash and a generator whose raw stream is fixed, so that results depend neither on
the order of work nor on which other cells there are. docs/statistics.md says what the numbers mean.
"""

import hashlib
import itertools
import math
from functools import cache

import numpy as np
from scipy.special import ndtri, stdtrit

from beft.tasks.metrics import sums

RESAMPLES, SWAPS = 2000, 5000
LEVEL = 0.95
EXACT = 12  # runs; with more of them, signs are drawn
EQUAL = 1e-9  # metrics closer than this are equal: their sums were rounded in another order
BLOCK = 2**24  # weights that are spread out at once: 64 MB


def resamples(n: int, *names: str) -> np.ndarray:
    """How often each of n examples is in each resample, (RESAMPLES, n) uint8; rows sum to n."""
    picked = below(n, (RESAMPLES, n), "resamples", *names)
    rows = np.arange(RESAMPLES)[:, None] * n
    counts = np.bincount((picked + rows).ravel(), minlength=RESAMPLES * n)
    return counts.astype(np.uint8).reshape(RESAMPLES, n)


def swaps(n: int, *names: str) -> np.ndarray:
    """Which of n examples change sides in each shuffle of two techniques, (SWAPS, n) of 0 and 1."""
    words = _raw(-(-SWAPS * n // 64), "swaps", *names)
    bits = np.unpackbits(words.astype("<u8").view(np.uint8), count=SWAPS * n)
    return bits.reshape(SWAPS, n)


def weigh(weights: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Sums of columns over examples under each row of weights.

    Args:
        weights: (rows, n) small whole numbers.
        columns: (runs, n, k); whole numbers are summed in float32, where they are exact.

    Returns:
        (runs, rows, k).
    """
    runs, n, k = columns.shape
    kind = np.float32 if columns.dtype.kind == "u" else np.float64
    flat = np.moveaxis(columns, 2, 1).reshape(runs * k, n).astype(kind)
    found = np.empty((runs * k, len(weights)), dtype=kind)
    step = max(1, BLOCK // n)
    for start in range(0, len(weights), step):
        part = slice(start, start + step)
        found[:, part] = flat @ weights[part].T.astype(kind)
    return np.moveaxis(found.reshape(runs, k, -1), 1, 2)


def interval(values: np.ndarray) -> tuple[float, float]:
    """Bootstrap interval of the mean over runs, from the runs' values in every resample.

    Runs are drawn again too, the same number of them. Few runs vary less among themselves than
    those that they stand for, so a resample's distance from the mean of all runs is stretched by
    `expansion` (Hesterberg 2015), after which intervals of few runs hold what they promise.

    Args:
        values: (runs, RESAMPLES) of each run in each resample of the examples; the same all along
            where examples are not resampled. One run: examples alone vary.

    Returns:
        The 2.5th and the 97.5th percentile.
    """
    runs, rows = values.shape
    centre = values.mean(axis=0)
    if runs > 1:
        drawn = (_run_resamples(runs, rows) * values).mean(axis=0)
        centre = centre + expansion(runs) * (drawn - centre)
    tail = 50 * (1 - LEVEL)
    low, high = np.percentile(centre, [tail, 100 - tail])
    return float(low), float(high)


@cache
def _run_resamples(runs: int, rows: int) -> np.ndarray:
    """How often each run is in each resample, (runs, rows)."""
    picked = below(runs, (runs, rows), "runs")
    return np.stack([(picked == run).sum(axis=0) for run in range(runs)]).astype(np.float64)


@cache
def expansion(runs: int) -> float:
    """Ratio of Student's interval of the mean of so many runs to the one that a bootstrap gives."""
    tail = (1 - LEVEL) / 2
    student = stdtrit(runs - 1, tail) / ndtri(tail)
    return float(student * math.sqrt(runs / (runs - 1)))


def flip_test(differences: np.ndarray) -> float:
    """Two-sided sign-flip permutation test over runs of a mean difference of 0.

    Args:
        differences: (runs,) of two techniques, paired by seed.

    Returns:
        The share of all 2^runs signs whose mean is as far from 0; it cannot be below 2 / 2^runs.
        Above `EXACT` runs signs are drawn, (1 + hits) / (1 + SWAPS). NaN below two runs.
    """
    runs = len(differences)
    if runs < 2:
        return math.nan
    if runs > EXACT:
        signs = 1.0 - 2.0 * swaps(runs, "signs")
        return _share_as_far(signs @ differences, differences.sum(), drawn=True)
    signs = np.array(list(itertools.product((1.0, -1.0), repeat=runs)))
    return _share_as_far(signs @ differences, differences.sum(), drawn=False)


def swap_test(
    metric: str,
    totals: tuple[np.ndarray, np.ndarray],
    swapped: tuple[np.ndarray, np.ndarray],
    n: int,
) -> float:
    """Approximate randomisation over examples of no difference between two techniques.

    For each shuffle the two techniques' answers to some examples change sides, the same examples
    in all runs.

    Args:
        metric: see `beft.tasks.metrics.sums`.
        totals: sums of the columns of the first and second technique, (runs, k) each.
        swapped: sums over the examples that change sides, (runs, SWAPS, k) each.
        n: number of examples.

    Returns:
        (1 + shuffles whose mean difference over runs is as far from 0) / (1 + shuffles); where
        none is, Hoeffding's bound 2 exp(-z z / 2) if that is smaller, z being the difference in
        deviations of the shuffles. Without it no p could survive the correction of a large study.
    """
    (first, second), (left, right) = totals, swapped
    if metric in sums.MEANS:  # linear: the runs' mean can be taken first
        first, second, left, right = (
            side.mean(axis=0, dtype=np.float64, keepdims=True)
            for side in (first, second, left, right)
        )
    moved, at = right - left, (slice(None), None)
    ours = sums.value(metric, first[at] + moved, n)
    theirs = sums.value(metric, second[at] - moved, n)
    seen = sums.value(metric, first, n) - sums.value(metric, second, n)
    found, far = (ours - theirs).mean(axis=0), float(seen.mean())
    p = _share_as_far(found, far, drawn=True)
    variance = float((found**2).mean())
    if p * (1 + len(found)) > 1 or not variance:
        return p
    return min(p, 2 * math.exp(-(far**2) / (2 * variance)))


def holm(p_values: np.ndarray) -> np.ndarray:
    """Holm's correction of a family of tests; undefined ones are not part of it and stay so.

    Args:
        p_values: (tests,).

    Returns:
        (tests,): below 0.05 wherever the family-wise error rate of 5 % allows to reject.
    """
    p_values = np.asarray(p_values, dtype=np.float64)
    corrected = np.full(len(p_values), math.nan)
    known = np.flatnonzero(~np.isnan(p_values))
    order = known[np.argsort(p_values[known], kind="stable")]
    steps = p_values[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected


def _share_as_far(found: np.ndarray, seen: float, drawn: bool) -> float:
    hits = int((np.abs(found) >= abs(seen) - EQUAL).sum())
    return (hits + drawn) / (len(found) + drawn)


def _raw(count: int, *names: str) -> np.ndarray:
    """Random 64-bit words; a bit generator's raw stream is the same in every version of numpy."""
    key = hashlib.blake2b(repr(names).encode(), digest_size=16).digest()
    return np.random.PCG64(int.from_bytes(key, "big")).random_raw(count)


def below(n: int, shape: tuple[int, int], *names: str) -> np.ndarray:
    """Random whole numbers from 0 to n - 1, int64, which follow from the names alone."""
    words = _raw(math.prod(shape), *names, str(n)) >> np.uint64(32)
    return ((words * np.uint64(n)) >> np.uint64(32)).astype(np.int64).reshape(shape)
