"""Generate the demo tasks: English written by small grammars, in the columns of real tasks.

Each grammar is a function `(rng, *kind) -> Draft`. A kind says what an example shows and so fixes
its label (or its score); the weights of the kinds set the difficulty. `generate` draws the kinds,
drafts until an example is new and uses only combinations of words that belong to the split, and
returns the examples as columns. The data is the same on every machine and Python version.
"""

import zlib
from collections.abc import Callable
from random import Random
from typing import NamedTuple

from beft.errors import UserError
from beft.tasks.demo import answer, choice, pairs, single
from beft.tasks.demo.grammar import Draft

# Raise it when the data of any task changes. The version is part of a task's revision, so results
# of old data cannot pass for results of new data. A test checks each split's digest.
DEMO_VERSION: int = 1
ROWS = {"train": 4000, "validation": 200}
_HELD_OUT = 8  # one of so many combinations of words is kept for validation


class Grammar(NamedTuple):
    """The grammar of a task."""

    columns: tuple[str, ...]  # of text
    kinds: dict[tuple, int]  # kind -> weight
    draft: Callable[..., Draft]  # (rng, *kind) -> an example
    target: str = "label"  # the column of labels or answers


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
    """Draws `count` kinds in the proportions of their weights, in random order."""
    spread = [kind for kind, weight in weights.items() for _ in range(weight)]
    chosen = [(rng.random(), spread[i * len(spread) // count]) for i in range(count)]
    return [kind for _, kind in sorted(chosen, key=lambda item: item[0])]


def generate(name: str, split: str) -> dict[str, list]:
    """Generates one split of a demo task.

    Args:
        name: one of `NAMES`.
        split: `train` (4,000 rows) or `validation` (200 rows).

    Returns:
        Lists of equal length by column, as in the real task: the text columns (str), the target,
        and `idx` (int, from 0). The target is `label` (int; for `demo_similarity` float from 0.0
        to 5.0), or for `demo_answer` `answers`: a dict of `text` and `answer_start` (characters
        into the context), each a list of one.

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
