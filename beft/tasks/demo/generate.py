"""The demo tasks: English written by small grammars, in the columns of real tasks.

Each grammar is a function `(rng, *kind) -> Draft`. A kind says what an example shows and so fixes
its label (or its score); the weights of the kinds set the difficulty. One driver draws the kinds,
fills in words until the draft is new and uses only combinations of words that belong to the split,
and lays the drafts out as columns. The data is the same on every machine and Python version.
"""

import zlib
from collections.abc import Callable
from random import Random
from typing import NamedTuple

from beft.errors import UserError
from beft.tasks.demo import answer, choice, pairs, single
from beft.tasks.demo.grammar import Draft

# To be raised whenever the data of any task changes: the version is part of a task's revision, so
# results of old data cannot pass for results of new data. A test holds each split's digest.
DEMO_VERSION: int = 1
ROWS = {"train": 4000, "validation": 200}
# One combination of words in so many is kept for validation.
_HELD_OUT = 8


class Grammar(NamedTuple):
    """How a task is written: its text columns, its weighted kinds, and what drafts an example.

    `target` is the column of what is to be found.
    """

    columns: tuple[str, ...]
    kinds: dict[tuple, int]
    draft: Callable[..., Draft]
    target: str = "label"


_PAIR = ("sentence1", "sentence2")
_CHOICE = ("premise", "choice1", "choice2", "question")
_ANSWER = ("context", "question")
GRAMMARS = {
    "demo_sentiment": Grammar(("sentence",), single.SENTIMENT_KINDS, single.sentiment),
    "demo_entailment": Grammar(_PAIR, pairs.ENTAILMENT_KINDS, pairs.entailment),
    "demo_acceptability": Grammar(("sentence",), single.ACCEPTABILITY_KINDS, single.acceptability),
    "demo_similarity": Grammar(_PAIR, pairs.SIMILARITY_KINDS, pairs.similarity),
    "demo_choice": Grammar(_CHOICE, choice.CHOICE_KINDS, choice.choice),
    "demo_answer": Grammar(_ANSWER, answer.ANSWER_KINDS, answer.answer, "answers"),
}
NAMES: tuple[str, ...] = tuple(GRAMMARS)


def fits(draft: Draft, split: str) -> bool:
    """Whether every combination of the draft's words belongs to the split."""
    # crc32 and not hash(), which differs from process to process.
    held = [zlib.crc32(" ".join(sorted(words)).encode()) % _HELD_OUT == 0 for words in draft.held]
    return all(held) if split == "validation" else not any(held)


def _kinds(rng: Random, weights: dict[tuple, int], count: int) -> list[tuple]:
    """`count` kinds in the proportions of their weights, in random order."""
    spread = [kind for kind, weight in weights.items() for _ in range(weight)]
    chosen = [(rng.random(), spread[i * len(spread) // count]) for i in range(count)]
    return [kind for _, kind in sorted(chosen, key=lambda item: item[0])]


def generate(name: str, split: str) -> dict[str, list]:
    """Write one split of a demo task.

    Args:
        name: one of `NAMES`.
        split: `train` (4,000 rows) or `validation` (200 rows).

    Returns:
        Columns to lists of equal length, as the real sister has them: the text columns (str),
        what is to be found, and `idx` (int, from 0). To be found is `label` (int; for
        `demo_similarity` float from 0.0 to 5.0), or in `demo_answer` `answers`: a dict of `text`
        and `answer_start` (characters into the context), each a list of one.

    Raises:
        UserError: the name or the split does not exist.
    """
    if name not in GRAMMARS:
        raise UserError(f"demo task {name!r} does not exist; use one of {', '.join(NAMES)}")
    if split not in ROWS:
        raise UserError(f"split {split!r} of {name} does not exist; use one of {', '.join(ROWS)}")
    grammar, rng = GRAMMARS[name], Random(f"{name}/{split}/{DEMO_VERSION}")
    drafts: dict[tuple[str, ...], Draft] = {}
    for kind in _kinds(rng, grammar.kinds, ROWS[split]):
        draft = grammar.draft(rng, *kind)
        while draft.texts in drafts or not fits(draft, split):
            draft = grammar.draft(rng, *kind)
        drafts[draft.texts] = draft
    rows = list(drafts.values())
    columns = {column: [row.texts[i] for row in rows] for i, column in enumerate(grammar.columns)}
    return columns | {grammar.target: [row.label for row in rows], "idx": list(range(len(rows)))}
