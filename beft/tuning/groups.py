"""Find texts that are alike, and rows that have to stay together."""

from collections.abc import Hashable, Iterable, Sequence

import numpy as np

from beft.store import data_checks


def folded(texts: Sequence[str]) -> tuple[str, ...]:
    """The texts of a row, without differences in capitals, blanks and Unicode forms."""
    return tuple(map(data_checks.folded, texts))


def alike(texts: Sequence[str]) -> tuple[str, ...]:
    """What rows of equal texts have in common, in whatever order the two of a pair are."""
    return tuple(sorted(folded(texts)))


def connected(keys: Sequence[Iterable[Hashable]]) -> np.ndarray:
    """Numbers rows, so that rows with a key in common have one number, over any chain of rows.

    Args:
        keys: the keys of each row.

    Returns:
        The group of each row, (n,) int64, numbered from 0 in the order of their first rows.
    """
    parent = list(range(len(keys)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    first: dict[Hashable, int] = {}
    for row, mine in enumerate(keys):
        for key in mine:
            one, other = root(first.setdefault(key, row)), root(row)
            parent[max(one, other)] = min(one, other)
    numbers: dict[int, int] = {}
    found = [numbers.setdefault(root(row), len(numbers)) for row in range(len(keys))]
    return np.array(found, dtype=np.int64)
