"""One's own texts as tokens: as an encoder reads them, or as prompts of a decoder."""

import math
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from beft.data.encoded import Encoded
from beft.data.prompts import Prompts, encode_prompts, reader
from beft.engine.usable import check_tokenizer
from beft.errors import UserError, shortened
from beft.models.loading import load_tokenizer, quiet_transformers, read_config
from beft.models.pretrained import check_checkpoint
from beft.study.params import Prompt
from beft.tuning.base_model import NamedModel
from beft.tuning.examples import Examples, Meaning
from beft.tuning.prompt import words_of

LONGEST = 256  # tokens that are read of an example, at most
LONGEST_PROMPT = 512  # the same with the words of a prompt and its longest answer
_POSITIONS = ("max_position_embeddings", "n_positions", "sliding_window")


@dataclass(frozen=True)
class Reading:
    """How a model reads examples."""

    max_length: int  # tokens of an example, special ones or the words of a prompt among them
    computed: np.ndarray  # (n,) tokens that are computed of each example
    cut: np.ndarray  # (n,) bool: it has more than `max_length`


def reading(base: NamedModel, examples: Examples, meaning: Meaning, origin: str) -> Reading:
    """How a model reads examples: as long as they need, and up to a limit.

    Args:
        origin: the name of their file, for messages.

    Raises:
        UserError: the model cannot be loaded, or a prompt does not fit.
    """
    label = f"--model {base}"
    config = read_config(check_checkpoint(base.folder, label), label)
    tokenizer: PreTrainedTokenizerBase = load_tokenizer(base.folder, label)
    if meaning.prompt is not None:
        check_tokenizer(tokenizer, label, prompts=True)
        return _of_prompts(tokenizer, config, examples, meaning, meaning.prompt, origin)
    columns = [list(texts) for texts in zip(*examples.texts, strict=True)]
    lengths = np.array([len(ids) for ids in tokenizer(*columns)["input_ids"]])
    positions = getattr(config, "max_position_embeddings", None) or LONGEST
    most = _rounded(lengths, min(LONGEST, positions - 2, tokenizer.model_max_length))
    return Reading(most, np.minimum(lengths, most), lengths > most)


def _rounded(lengths: np.ndarray, limit: int) -> int:
    return int(min(limit, max(16, 8 * math.ceil(int(lengths.max()) / 8))))


def _of_prompts(
    tokenizer: PreTrainedTokenizerBase,
    config: PreTrainedConfig,
    examples: Examples,
    meaning: Meaning,
    prompt: Prompt,
    origin: str,
) -> Reading:
    words = [words_of(prompt, meaning.texts, texts) for texts in examples.texts]
    rows = examples.rows.tolist()
    with quiet_transformers():
        whole = encode_prompts(words, tokenizer, sys.maxsize, where=origin, rows=rows)
        _check_answers(whole, meaning, origin)
        lengths = _lengths(whole)
        limits = [found for name in _POSITIONS if (found := getattr(config, name, None))]
        most = _rounded(lengths, min(LONGEST_PROMPT, *limits))
        cut = lengths > most
        for row in np.flatnonzero(cut):
            try:
                encode_prompts([words[row]], tokenizer, most)
            except UserError:
                raise UserError(
                    f"{origin}: row {rows[row]}: its prompt has more than {most} tokens without "
                    f"column '{shortened(prompt.passage)}'; shorten its other texts, or remove it"
                ) from None
    sizes = np.array([whole.length(row) for row in range(len(whole))])
    return Reading(most, sizes - np.maximum(lengths - most, 0), cut)


def _lengths(data: Prompts) -> np.ndarray:
    """Tokens of each prompt with its longest answer, (n,)."""
    each = zip(data.prompts, data.answers, strict=True)
    return np.array([len(prompt) + max(map(len, answers)) for prompt, answers in each], np.int64)


def _check_answers(data: Prompts, meaning: Meaning, origin: str) -> None:
    """Refuses answers that are the same to the model."""
    seen: dict[tuple[int, ...], int] = {}
    for number, tokens in enumerate(data.answers[0]):
        other = seen.setdefault(tuple(tokens), number)
        if other != number:
            assert meaning.prompt is not None
            one, two = (shortened(meaning.prompt.answers[i]) for i in (other, number))
            raise UserError(
                f"{origin}: the answers '{one}' and '{two}' are the same tokens for this model; "
                "rename one of these classes, or end --prompt with a column of other words for them"
            )


def tokenised(
    tokenizer: PreTrainedTokenizerBase, examples: Sequence[tuple[str, ...]], max_length: int
) -> tuple[Encoded, np.ndarray]:
    """Examples as tokens, and which of them are longer than `max_length` tokens, (n,) bool."""
    cut = np.zeros(len(examples), bool)
    if not examples:
        return Encoded([], None, torch.zeros(0)), cut
    with quiet_transformers():
        columns = [list(column) for column in zip(*examples, strict=True)]
        out = tokenizer(*columns, truncation=True, max_length=max_length, padding=False)
        full = [i for i, ids in enumerate(out["input_ids"]) if len(ids) >= max_length]
        if full:
            whole = tokenizer(*([column[i] for i in full] for column in columns), padding=False)
            cut[full] = [len(ids) > max_length for ids in whole["input_ids"]]
    types = out.get("token_type_ids")
    return Encoded(out["input_ids"], types, torch.zeros(len(examples))), cut


def prompted(
    tokenizer: PreTrainedTokenizerBase,
    meaning: Meaning,
    examples: Sequence[tuple[str, ...]],
    max_length: int,
) -> tuple[Prompts, np.ndarray]:
    """The same of a decoder, whose prompts lose the beginning of their passage.

    If that is not enough, other texts of the row are cut as well, from their ends.
    """
    with quiet_transformers():
        found = [_prompted(tokenizer, meaning, texts, max_length) for texts in examples]
    data = Prompts(
        [each for one, _ in found for each in one.prompts],
        [each for one, _ in found for each in one.answers],
        [each for one, _ in found for each in one.bare],
        [each for one, _ in found for each in one.words],
        reader(tokenizer),
    )
    return data, np.array([cut for _, cut in found], bool)


def _prompted(
    tokenizer: PreTrainedTokenizerBase, meaning: Meaning, texts: Sequence[str], max_length: int
) -> tuple[Prompts, bool]:
    """One example, and whether it is cut; without tokens where its prompt has none."""
    prompt = meaning.prompt
    assert prompt is not None
    words = words_of(prompt, meaning.texts, texts)
    none = Prompts([[]], [[[]]], [[]], [words], reader(tokenizer))
    try:
        whole = encode_prompts([words], tokenizer, sys.maxsize)
    except UserError:
        return none, False
    if _lengths(whole)[0] <= max_length:
        return whole, False
    while True:
        with suppress(UserError):
            return encode_prompts([words], tokenizer, max_length), True
        shorter = [
            text if name == prompt.passage else text[: (len(text) + 1) // 2]
            for name, text in zip(meaning.texts, texts, strict=True)
        ]
        if shorter == list(texts):
            return none, True
        texts = shorter
        words = words_of(prompt, meaning.texts, texts)
