"""Cut examples into test rows and folds, by class and by group, from their content alone."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from beft.errors import UserError, shortened
from beft.tuning.examples import Cut, Examples
from beft.tuning.groups import alike

_STRATA = 10  # parts of the range of a regression's targets, if there are enough examples


@dataclass(frozen=True)
class _Unit:
    """The examples of a group: they go to one side of every cut."""

    positions: list[int]
    # How many of them are of each class, or part of the range of targets; sorted, so that sums of
    # floats over them do not depend on the order of the examples.
    strata: Counter[int]
    content: tuple[tuple[str, ...], ...]  # their texts, in an order of their own


def cut(examples: Examples, share: float, folds: int, seed: int = 0) -> Cut:
    """Cuts off test rows, and the others into folds.

    Each class has its share of rows and of groups on every side, as far as groups allow, and so has
    each part of the range of a regression's targets. Which examples go where depends on the texts,
    the labels, the groups and the seed, and not on the order of the examples: a file whose rows are
    shuffled is cut in the same way.

    Args:
        examples: the examples.
        share: of the examples that are tested on; 0 for none.
        folds: how many parts of the pool are held out in turn.
        seed: another one gives another cut.

    Raises:
        UserError: if there are fewer groups than folds, or all rows of a class in the pool would
            be held out at once.
    """
    if not 0 <= share < 1:
        raise UserError(f"the share of test rows must be at least 0 and less than 1, not {share}")
    units = _units(examples, _strata(examples, folds))
    sides = _parts(units, [1 - share, share], f"test {seed}") if share else [0] * len(units)
    kept = [unit for unit, side in zip(units, sides, strict=True) if side == 0]
    if len(kept) < folds:
        raise UserError(
            f"{len(kept)} groups of rows beside the test rows cannot make {folds} folds; add rows"
        )
    held_out = _parts(kept, [1 / folds] * folds, f"folds {seed}")
    if folds > 1:
        _check(examples, kept, held_out)
    fold = np.full(len(examples), -1, dtype=np.int64)
    for unit, part in zip(kept, held_out, strict=True):
        fold[unit.positions] = part
    pool = np.flatnonzero(fold >= 0)
    return Cut(np.flatnonzero(fold < 0), pool, fold[pool])


def separate(pool: Examples, test: Examples) -> tuple[Examples, int]:
    """The examples of a pool without those whose text or named group a test file has too.

    Returns:
        Those that are left, and how many these are not.
    """
    texts = {alike(one) for one in test.texts}
    names = set(filter(None, test.named))
    named = pool.named or ("",) * len(pool)
    apart = [
        alike(one) not in texts and name not in names
        for one, name in zip(pool.texts, named, strict=True)
    ]
    left = pool.take(np.flatnonzero(apart))
    return left, len(pool) - len(left)


def _strata(examples: Examples, folds: int) -> np.ndarray:
    """The class of each example; of a regression, the part of the range of targets."""
    if examples.classes:
        return examples.labels
    n = len(examples)
    parts = max(1, min(_STRATA, n // (2 * max(folds, 1))))
    ranks = np.searchsorted(np.sort(examples.labels), examples.labels)  # equal targets, equal rank
    return ranks * parts // max(n, 1)


def _units(examples: Examples, strata: np.ndarray) -> list[_Unit]:
    members: dict[int, list[int]] = {}
    for position, group in enumerate(examples.groups.tolist()):
        members.setdefault(group, []).append(position)
    of = strata.tolist()
    return [
        _Unit(
            positions,
            Counter(sorted(of[position] for position in positions)),
            tuple(sorted(alike(examples.texts[position]) for position in positions)),
        )
        for positions in members.values()
    ]


def _parts(units: Sequence[_Unit], weights: Sequence[float], key: str) -> list[int]:
    """Deals units out to parts; large ones first, those of one size and stratum by a hash.

    Each goes where it lacks a stratum of its own, else where it brings the shares of rows and of
    units closest to the weights.

    Returns:
        The part of each unit.
    """
    rows = sum((unit.strata for unit in units), Counter[int]())
    groups = Counter(stratum for unit in units for stratum in unit.strata)
    has_rows = [Counter[int]() for _ in weights]
    has_groups = [Counter[int]() for _ in weights]
    sizes = [0 for _ in weights]

    def cost(unit: _Unit, part: int) -> tuple[int, float, float]:
        lacking, added = 0, 0.0
        for stratum, n in unit.strata.items():
            lacking += not has_rows[part][stratum]
            over = has_rows[part][stratum] - weights[part] * rows[stratum]
            added += n * (2 * over + n) / rows[stratum] ** 2
            over = has_groups[part][stratum] - weights[part] * groups[stratum]
            added += (2 * over + 1) / groups[stratum] ** 2
        return -lacking, added, sizes[part] / weights[part]

    def place(unit: _Unit) -> tuple[int, list[int], bytes]:
        content = repr((key, unit.content)).encode("utf-8", "surrogatepass")
        return -len(unit.positions), sorted(unit.strata), hashlib.blake2b(content).digest()

    places = [place(unit) for unit in units]
    found = [0] * len(units)
    for index in sorted(range(len(units)), key=places.__getitem__):
        unit = units[index]
        costs = [cost(unit, part) for part in range(len(weights))]
        part = costs.index(min(costs))
        found[index] = part
        sizes[part] += len(unit.positions)
        has_rows[part].update(unit.strata)
        has_groups[part].update(unit.strata.keys())
    return found


def _check(examples: Examples, units: Sequence[_Unit], parts: Sequence[int]) -> None:
    """Refuses folds of which one holds out all rows of a class."""
    where: dict[int, set[int]] = {}
    for unit, part in zip(units, parts, strict=True):
        for stratum in unit.strata:
            where.setdefault(stratum, set()).add(part)
    for index, name in enumerate(examples.classes):
        if len(where.get(index, ())) == 1:
            raise UserError(
                f"class '{shortened(name)}': all its rows beside the test rows would be held out "
                "at once; add rows of it, of other texts and groups"
            )
