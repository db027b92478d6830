"""From prompts in words to tokens: the prompt once, and what each answer adds to it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from beft.data.order import order
from beft.errors import UserError
from beft.tasks.metrics import sums
from beft.tasks.metrics.answers import score_words
from beft.tasks.prompts import Words

ABSENT = float(np.finfo(np.float32).min)  # the score of a candidate that an example lacks


@dataclass(frozen=True)
class Prompts:
    """Tokenised prompts and answers.

    Attributes:
        prompts: tokens of each prompt, n lists.
        answers: for each example the tokens of each candidate; empty where answers are generated
            and none is given.
        bare: for each example the tokens of the last line of its prompt alone, which a calibrated
            score is relative to.
        words: the same examples in words.
        decode: tokens to text.
    """

    prompts: list[list[int]]
    answers: list[list[list[int]]]
    bare: list[list[int]]
    words: list[Words]
    decode: Callable[[Sequence[int]], str]

    def __len__(self) -> int:
        return len(self.prompts)

    def take(self, rows: np.ndarray) -> "Prompts":
        """The examples at these rows, in this order."""
        return replace(
            self,
            prompts=[self.prompts[r] for r in rows],
            answers=[self.answers[r] for r in rows],
            bare=[self.bare[r] for r in rows],
            words=[self.words[r] for r in rows],
        )

    def length(self, row: int) -> int:
        """Tokens of an example: its prompt's and those of its answers."""
        return len(self.prompts[row]) + sum(map(len, self.answers[row]))

    def gold(self, row: int) -> int:
        """The candidate that is trained on: the first right one."""
        return self.words[row].gold[0]

    def decide(self, outputs: np.ndarray) -> np.ndarray:
        """Predictions: the best candidate (n,) of scores (n, C), or generated tokens themselves."""
        return outputs if outputs.dtype == np.int64 else outputs.argmax(axis=1)

    def evaluate(self, predictions: np.ndarray, metrics: Sequence[str]) -> dict[str, float]:
        """Each metric as a fraction.

        Args:
            predictions: candidates (n,), or tokens (n, T) with -1 behind the end.
        """
        found = self._said(predictions)
        return {metric: score_words(metric, found, self.words) for metric in metrics}

    def columns(self, predictions: np.ndarray, metric: str) -> np.ndarray:
        """What each example adds to a metric's sums, (n, k); see `beft.tasks.metrics.sums`."""
        return sums.columns(metric, self._said(predictions), self.words)

    def _said(self, predictions: np.ndarray) -> list[int] | list[str]:
        found = predictions.tolist()
        if predictions.ndim == 2:
            found = [self.decode([t for t in row if t >= 0]) for row in found]
        return found


def encode_prompts(
    words: Sequence[Words],
    tokenizer,
    max_length: int,
    *,
    room: int = 0,
    end: str = "",
    answered: bool = True,
    before: Sequence[Sequence[Words]] | None = None,
    where: str = "",
) -> Prompts:
    """Tokenises examples; a prompt that is too long loses the beginning of its passage.

    An answer's tokens are what it adds to the tokens of its prompt. Where a tokenizer joins the
    prompt's last characters with the answer's first, the shared prompt ends before them, and they
    count as part of every candidate.

    Args:
        max_length: tokens of prompt and longest answer together.
        room: tokens to leave for an answer that is generated.
        end: what an answer that is to be generated ends with, and has to be trained to.
        answered: whether answers are needed; those that are only compared must change no prompt.
        before: for each example the solved examples that stand before it, as many as fit.
        where: what messages call the dataset.

    Raises:
        UserError: naming the row whose question and answers alone are too long, or whose answer
            adds no token.
    """
    prompts, answers, bare = [], [], []
    for row, example in enumerate(words):
        try:
            given = example.answers if answered else ()
            shared, added = _example(example, given, tokenizer, max_length, room, end)
            if before is not None:
                left = max_length - len(shared) - max([room, *map(len, added)])
                shared = _demonstrated(before[row], shared, tokenizer, left)
        except UserError as error:
            raise UserError(f"{where}: row {row}: {error}") from None
        prompts.append(shared)
        answers.append(added)
        alone = _without_end(tokenizer(_bare(example))["input_ids"], tokenizer)
        bare.append(alone or [tokenizer.eos_token_id])
    return Prompts(prompts, answers, bare, list(words), _decoder(tokenizer))


def _bare(words: Words) -> str:
    """What stands between the passage and the answer, its last line: "It was", "Answer:"."""
    return words.after.rpartition("\n")[2].strip()


def _decoder(tokenizer) -> Callable[[Sequence[int]], str]:
    return lambda ids: tokenizer.decode(ids, skip_special_tokens=True)


def _example(
    words: Words, answers: Sequence[str], tokenizer, max_length: int, room: int, end: str
) -> tuple[list[int], list[list[int]]]:
    text = words.before + words.passage + words.after
    given = tokenizer(text, return_offsets_mapping=True, verbose=False)
    ids, offsets = given["input_ids"], given["offset_mapping"]
    # Special tokens behind the text (some tokenizers add an end) would separate it from an answer.
    while ids and offsets[-1] == (0, 0) and ids[-1] in tokenizer.all_special_ids and len(ids) > 1:
        ids, offsets = ids[:-1], offsets[:-1]
    whole = [text + answer + end for answer in answers]
    full = [_without_end(tokenizer(t, verbose=False)["input_ids"], tokenizer) for t in whole]
    shared = min([len(ids), *(_common(ids, other) for other in full)])
    added = [other[shared:] for other in full]
    for answer, tokens in zip(answers, added, strict=True):
        if not tokens:
            raise UserError(f"the answer '{answer}' adds no token to its prompt")
    ids = _shortened(ids[:shared], offsets, words, max_length - max([room, *map(len, added)]))
    return ids, added


def _without_end(ids: list[int], tokenizer) -> list[int]:
    while len(ids) > 1 and ids[-1] == tokenizer.eos_token_id:
        ids = ids[:-1]
    return ids


def _common(first: list[int], second: list[int]) -> int:
    """Length of the longest common beginning."""
    for i, (a, b) in enumerate(zip(first, second, strict=False)):
        if a != b:
            return i
    return min(len(first), len(second))


def _shortened(ids: list[int], offsets, words: Words, limit: int) -> list[int]:
    """The prompt's tokens, without as many of the passage's first ones as are too many."""
    excess = len(ids) - limit
    if excess <= 0:
        return ids
    # A space between the passage and what is before it belongs to the passage's first token.
    start, end = len(words.before.rstrip()), len(words.before) + len(words.passage)
    inside = [start <= first < last <= end for first, last in offsets[: len(ids)]]
    passage = [i for i, is_inside in enumerate(inside) if is_inside]
    if len(passage) < excess:
        raise UserError(
            f"its prompt without the passage has {len(ids) - len(passage)} tokens, but only {limit}"
            " fit; raise max_length, as far as the model allows, or leave the row out"
        )
    dropped = set(passage[:excess])
    return [token for i, token in enumerate(ids) if i not in dropped]


def _demonstrated(shown: Sequence[Words], prompt: list[int], tokenizer, left: int) -> list[int]:
    """The prompt behind as many solved examples as fit, in their order; the last ones stay."""
    start = [t for t in prompt[:1] if t in tokenizer.all_special_ids]
    blocks: list[list[int]] = []
    for words in reversed(shown):
        text = words.before + words.passage + words.after + words.answers[words.gold[0]] + "\n\n"
        block = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        if len(block) > left:
            break
        left -= len(block)
        blocks.insert(0, block)
    return [*start, *(token for block in blocks for token in block), *prompt[len(start) :]]


def demonstrations(
    train: Sequence[Words], count: int, seed: int, examples: int
) -> list[list[Words]]:
    """The solved examples before each of `examples` prompts: the same ones in the same order.

    The first `count` of the training subset, which the seed has drawn, in an order that the seed
    decides too.
    """
    chosen = [train[i] for i in order(min(count, len(train)), "demonstrations", seed)]
    return [chosen] * examples


def evaluated_rows(words: Sequence[Words], size: int | str, task: str) -> list[int]:
    """The rows of a split that are evaluated, ascending: a function of task and size alone.

    Rows that are scored together (MultiRC's answers to one question) are taken together, so there
    may be a few more than `size`.
    """
    if size == "all" or size >= len(words):
        return list(range(len(words)))
    groups: dict[str, list[int]] = {}
    for row, example in enumerate(words):
        groups.setdefault(example.group or f"row {row}", []).append(row)
    names, chosen = list(groups), []
    for place in order(len(names), "evaluated", task):
        if len(chosen) >= size:
            break
        chosen += groups[names[place]]
    return sorted(chosen)
