"""What the demo grammars share: a draft of an example, random choice, and writing a sentence."""

from collections.abc import Sequence
from random import Random
from typing import NamedTuple, TypeVar

T = TypeVar("T")


Answers = dict[str, list[str] | list[int]]  # as SQuAD writes them: text, answer_start


class Draft(NamedTuple):
    """One example."""

    texts: tuple[str, ...]  # its sentences, one per text column
    label: int | float | Answers  # its class or score, or its answers as SQuAD writes them
    # combinations of words that decide which split it may belong to
    held: tuple[tuple[str, ...], ...]


def pick(rng: Random, items: Sequence[T]) -> T:
    """One of the items."""
    # Of `Random`, Python promises only `random()` to stay the same over its versions.
    return items[int(rng.random() * len(items))]


def other(rng: Random, items: Sequence[T], *taken: T) -> T:
    """One of the items that is none of those taken."""
    return pick(rng, [item for item in items if item not in taken])


def chance(rng: Random, probability: float) -> bool:
    """True with this probability."""
    return rng.random() < probability


def sentence(*parts: str) -> str:
    """The parts as a sentence: spaced, with a capital and a full stop; empty parts are left out."""
    text = " ".join(part for part in parts if part)
    return text[0].upper() + text[1:] + "."
