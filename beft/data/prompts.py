"""A decoder's examples as tokens: each prompt once, and the tokens that each answer adds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from transformers import PreTrainedTokenizerBase

from beft.data.demonstrations import before, fitting, solved
from beft.errors import UserError
from beft.tasks.metrics import sums
from beft.tasks.metrics.answers import score_words
from beft.tasks.words import Words

ABSENT = float(np.finfo(np.float32).min)  # the score of a candidate that an example does not have


@dataclass(frozen=True)
class Prompts:
    """Tokenised prompts and answers."""

    prompts: list[list[int]]  # the token ids of each prompt
    # The token ids of each candidate of each example; empty if its answer is generated and unknown.
    answers: list[list[list[int]]]
    # The token ids of the last line of each prompt, to which calibrated scores are relative.
    bare: list[list[int]]
    words: list[Words]  # the same examples as text
    decode: Callable[[Sequence[int]], str]  # turns token ids into text
    # How many demonstrations precede each prompt; empty if none were asked for.
    demonstrated: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.prompts)

    def take(self, rows: np.ndarray) -> "Prompts":
        """Selects examples by their row numbers, in the given order."""
        return replace(
            self,
            prompts=[self.prompts[r] for r in rows],
            answers=[self.answers[r] for r in rows],
            bare=[self.bare[r] for r in rows],
            words=[self.words[r] for r in rows],
            demonstrated=[self.demonstrated[r] for r in rows] if self.demonstrated else [],
        )

    def without(self, first: int) -> "Prompts":
        """The same examples without the first tokens of their prompts."""
        return replace(self, prompts=[prompt[first:] for prompt in self.prompts])

    def length(self, row: int) -> int:
        """The number of tokens of an example's prompt and all its answers."""
        return len(self.prompts[row]) + sum(map(len, self.answers[row]))

    def gold(self, row: int) -> int:
        """The candidate to train on: the first correct one."""
        return self.words[row].gold[0]

    def decide(self, outputs: np.ndarray) -> np.ndarray:
        """Turns scores (n, C) into the best candidates (n,); returns generated tokens unchanged."""
        return outputs if outputs.dtype == np.int64 else outputs.argmax(axis=1)

    def evaluate(self, predictions: np.ndarray, metrics: Sequence[str]) -> dict[str, float]:
        """Computes metrics, as fractions, of candidates (n,) or tokens (n, T) padded with -1."""
        found = self._answers(predictions)
        return {metric: score_words(metric, found, self.words) for metric in metrics}

    def columns(self, predictions: np.ndarray, metric: str) -> np.ndarray:
        """What each example adds to the sums of a metric, (n, k); see `beft.tasks.metrics.sums`."""
        return sums.columns(metric, self._answers(predictions), self.words)

    def _answers(self, predictions: np.ndarray) -> list[int] | list[str]:
        """Candidates as numbers, or generated answers as text."""
        found = predictions.tolist()
        if predictions.ndim == 2:
            found = [self.decode([t for t in row if t >= 0]) for row in found]
        return found


def encode_prompts(
    words: Sequence[Words],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    *,
    room: int = 0,
    end: str = "",
    answered: bool = True,
    demonstrations: Sequence[Words] | None = None,
    where: str = "",
    rows: Sequence[int] | None = None,
) -> Prompts:
    """Tokenises examples. If a prompt is too long, the beginning of its passage is left out.

    An answer consists of the tokens that it adds to its prompt. If the tokenizer merges the last
    characters of the prompt with the first ones of an answer, the prompt ends before them, and
    they belong to every candidate.

    Args:
        max_length: the largest number of tokens of a prompt with its longest answer.
        room: how many tokens to leave free for a generated answer.
        end: the text that ends a generated answer; it is appended so that training teaches it.
        answered: whether to tokenise answers. Without it, no answer can change a prompt.
        demonstrations: solved examples to put before each prompt, as many as fit (`fitting`).
        where: the name of the split, for messages.
        rows: the row of each example in the split. Default: its place among `words`.

    Raises:
        UserError: if a prompt has no token, or is too long without its passage, or an answer adds
            no token. The message begins with `where` and names the row.
    """
    prompts, answers, bare, demonstrated = [], [], [], []
    blocks = [solved(example, tokenizer) for example in demonstrations or ()]
    for row, example in zip(rows or range(len(words)), words, strict=True):
        try:
            given = example.answers if answered else ()
            shared, added = _example(example, given, tokenizer, max_length, room, end)
        except UserError as error:
            raise UserError(f"{where}: row {row}: {error}") from None
        if demonstrations is not None:
            left = max_length - len(shared) - max([room, *map(len, added)])
            chosen = [blocks[place] for place in fitting(list(map(len, blocks)), left)]
            demonstrated.append(len(chosen))
            shared = before(chosen, shared, tokenizer)
        prompts.append(shared)
        answers.append(added)
        last_line = example.after.rpartition("\n")[2].strip()  # such as "It was" or "Answer:"
        alone = _without_end(tokenizer(last_line)["input_ids"], tokenizer)
        end_of_text = [tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else []
        bare.append(alone or end_of_text or shared[-1:])

    return Prompts(prompts, answers, bare, list(words), reader(tokenizer), demonstrated)


def reader(tokenizer: PreTrainedTokenizerBase) -> Callable[[Sequence[int]], str]:
    """A function that turns generated tokens into text."""
    return lambda ids: str(tokenizer.decode(list(ids), skip_special_tokens=True))


def _example(
    words: Words,
    answers: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    room: int,
    end: str,
) -> tuple[list[int], list[list[int]]]:
    text = words.before + words.passage + words.after
    given = tokenizer(text, return_offsets_mapping=True, verbose=False)
    ids, offsets = given["input_ids"], given["offset_mapping"]
    # Some tokenizers append special tokens, which would separate the prompt from its answer.
    while ids and offsets[-1] == (0, 0) and ids[-1] in tokenizer.all_special_ids and len(ids) > 1:
        ids, offsets = ids[:-1], offsets[:-1]
    whole = [text + answer + end for answer in answers]
    full = [_without_end(tokenizer(t, verbose=False)["input_ids"], tokenizer) for t in whole]
    shared = min([len(ids), *(common(ids, other) for other in full)])
    added = [other[shared:] for other in full]
    for answer, tokens in zip(answers, added, strict=True):
        if not tokens:
            raise UserError(f"the answer '{answer}' adds no token to its prompt")
    ids = _shortened(ids[:shared], offsets, words, max_length - max([room, *map(len, added)]))
    if not ids:
        raise UserError(
            "its prompt has no token, as its texts are empty or too long and this model puts none "
            "before a text; put words into the template, or remove the row"
        )
    return ids, added


def _without_end(ids: list[int], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    while len(ids) > 1 and ids[-1] == tokenizer.eos_token_id:
        ids = ids[:-1]
    return ids


def common(first: list[int], second: list[int]) -> int:
    """The number of first tokens that both have in common."""
    differing = (i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b)
    return next(differing, min(len(first), len(second)))


def _shortened(
    ids: list[int], offsets: Sequence[tuple[int, int]], words: Words, limit: int
) -> list[int]:
    """Removes the first tokens of the passage until the prompt has at most `limit` tokens."""
    excess = len(ids) - limit
    if excess <= 0:
        return ids
    # A space before the passage belongs to the passage's first token.
    start, end = len(words.before.rstrip()), len(words.before) + len(words.passage)
    inside = [start <= first < last <= end for first, last in offsets[: len(ids)]]
    passage = [i for i, is_inside in enumerate(inside) if is_inside]
    if len(passage) < excess:
        raise UserError(
            f"its prompt without the passage has {len(ids) - len(passage)} tokens, but only {limit}"
            " fit; raise max_length, as far as the model allows, or remove the row"
        )
    dropped = set(passage[:excess])
    return [token for i, token in enumerate(ids) if i not in dropped]
