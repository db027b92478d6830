"""A decoder's answers to the prompts of a split: scores of candidates, or generated tokens."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
import torch

from beft.data.prompts import ABSENT, Prompts
from beft.engine.base import Settings
from beft.engine.batches import by_tokens
from beft.engine.decoder.generate import generate, newline_ids
from beft.engine.decoder.likelihood import Cache, candidate_scores, grid, lowering
from beft.engine.decoder.prefixes import Part, cached, parts
from beft.engine.decoder.rows import Item, arrange
from beft.engine.memory import Passes, step_tokens
from beft.models.decoder import Decoder

# Tokens that keys and values of a pass of their own must save, per token that each answer needs:
# the examples behind them fill fewer passes.
APART = 256
Found = TypeVar("Found")


@torch.inference_mode()
def answers(
    decoder: Decoder,
    data: Prompts,
    settings: Settings,
    device: str,
    passes: Passes | None = None,
    cache: Cache | None = None,
) -> np.ndarray:
    """The model's answers, dropout off.

    Args:
        settings: of the recipe (`settings.Training`): with `max_new_tokens`, answers are generated.
        passes: counts those that do not fit into memory.
        cache: a trained prefix.

    Returns:
        Scores (n, C) float32 of all candidates, `ABSENT` where an example has fewer; or tokens
        (n, T) int64, padded with -1. Outputs that are not finite give results that are not either,
        also where tokens are generated.
    """
    decoder.model.eval()
    answering = _Answering(decoder, device, passes or Passes(), cache)
    with lowering(decoder.model, device, settings["precision"]):
        if most := settings.get("max_new_tokens"):
            return answering.generated(data, most)
        scores = answering.scores(data)
        if settings["scoring"] == "plain":
            return scores
        if settings["scoring"] == "calibrated":
            scores = np.where(scores == ABSENT, ABSENT, scores - answering.bare_scores(data))
    lengths = torch.tensor([float(len(answer)) for each in data.answers for answer in each])
    table = grid(lengths, [len(each) for each in data.answers], 1.0).numpy()
    return np.where(scores == ABSENT, ABSENT, scores / table).astype(np.float32)


@dataclass(frozen=True)
class _Answering:
    """The arguments of `answers` that all its passes share."""

    decoder: Decoder
    device: str
    passes: Passes
    cache: Cache | None

    def passed(
        self, data: Prompts, room: int, work: Callable[[list[Item], Cache | None], Found]
    ) -> Iterator[tuple[np.ndarray, Found]]:
        """What `work` finds for the examples of each pass, with their row numbers.

        Args:
            room: tokens that will be generated for each example.
        """
        budget = step_tokens(self.device) * (2 if room else 1)  # one token each needs many
        for part in parts(data, room, worth=APART * (1 + room)):
            cache = self.prefix(part.prefix)
            shared = {row: unit.shared for unit in part.units for row in unit.rows[1:]}

            def items(rows: np.ndarray, part: Part = part, shared: dict = shared) -> list[Item]:
                """Examples; the first one of a pass has no other before it."""
                prompts, answers = part.data.prompts, part.data.answers
                return [
                    Item(0, prompts[r], answers[r], shared.get(r, 0) if i else 0)
                    for i, r in enumerate(rows)
                ]

            for rows in by_tokens(part, budget):
                each = np.array([row for unit in rows for row in part.units[unit].rows])
                wanted = partial(lambda rows, cache: work(items(rows), cache), cache=cache)
                for some, found in self.passes.attempt(each, wanted):
                    yield np.array(part.rows)[some], found

    def prefix(self, tokens: list[int]) -> Cache | None:
        """Keys and values of the tokens that all examples of a part see first."""
        if not tokens:
            return self.cache
        make = partial(cached, self.decoder.model, tokens, self.device, self.cache)
        ((_, cache),) = self.passes.attempt(np.zeros(1, np.int64), lambda _: make())
        return cache

    def scores(self, data: Prompts) -> np.ndarray:
        """Summed log-likelihoods (n, C)."""
        most = max(len(each) for each in data.answers)
        out = np.full((len(data), most), ABSENT, np.float32)
        model = self.decoder.model

        def scored(examples: list[Item], cache: Cache | None) -> np.ndarray:
            pass_ = arrange(examples, self.device, model.dtype)
            return grid(candidate_scores(model, pass_, cache), pass_.counts, ABSENT).cpu().numpy()

        for rows, table in self.passed(data, 0, scored):
            out[rows, : table.shape[1]] = table
        return out

    def bare_scores(self, data: Prompts) -> np.ndarray:
        """Log-likelihoods (n, C) of the same answers after the last line of the prompt alone."""
        known: dict[tuple, int] = {}
        index = []
        for bare, each in zip(data.bare, data.answers, strict=True):
            index.append(known.setdefault((tuple(bare), *map(tuple, each)), len(known)))
        firsts = [index.index(i) for i in range(len(known))]
        chosen = data.take(np.array(firsts))
        alone = Prompts(chosen.bare, chosen.answers, chosen.bare, chosen.words, chosen.decode)
        return self.scores(alone)[index]

    def generated(self, data: Prompts, most: int) -> np.ndarray:
        """Tokens (n, most), padded with -1; NaN everywhere where logits are not finite."""
        out = np.full((len(data), most), -1, np.int64)
        stop = newline_ids(self.decoder.tokenizer)
        model = self.decoder.model

        def written(examples: list[Item], cache: Cache | None) -> list[list[int]] | None:
            prompts, shared = [x.prompt for x in examples], [x.shared for x in examples]
            return generate(
                model, prompts, stop, most, self.device, cache, self.passes.tick, shared
            )

        for rows, found in self.passed(data, most, written):
            if found is None:
                return np.full(out.shape, np.nan)
            for row, tokens in zip(rows, found, strict=True):
                out[row, : len(tokens)] = tokens
        return out
