"""Draft an example, choose at random and write a sentence: tools of all demo grammars."""

from collections.abc import Sequence
from random import Random
from typing import NamedTuple, TypeVar

T = TypeVar("T")


Answers = dict[str, list[str] | list[int]]  # as SQuAD writes them: text, answer_start


class Draft(NamedTuple):
    """One example."""

    texts: tuple[str, ...]  # one per text column
    label: int | float | Answers  # class, score, or answers
    held: tuple[tuple[str, ...], ...]  # combinations of words that decide which split it fits


def pick(rng: Random, items: Sequence[T]) -> T:
    """Chooses one of the items."""
    # Of `Random`, Python promises only `random()` to stay the same over its versions.
    return items[int(rng.random() * len(items))]


def other(rng: Random, items: Sequence[T], *taken: T) -> T:
    """Chooses one of the items that are not taken."""
    return pick(rng, [item for item in items if item not in taken])


def chance(rng: Random, probability: float) -> bool:
    """True with this probability."""
    return rng.random() < probability


def sentence(*parts: str) -> str:
    """Joins parts to a sentence with a capital and a full stop; leaves out empty parts."""
    text = " ".join(part for part in parts if part)
    return text[0].upper() + text[1:] + "."
