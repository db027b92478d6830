"""A decoder's answers to the prompts of a split: scores of candidates, or generated tokens."""

from dataclasses import dataclass

import numpy as np
import torch

from beft.data.prompts import ABSENT, Prompts
from beft.engine.base import Settings
from beft.engine.batches import by_tokens
from beft.engine.decoder.generate import generate, newline_ids
from beft.engine.decoder.likelihood import Cache, candidate_scores, grid, lowering
from beft.engine.decoder.rows import arrange, items
from beft.engine.memory import Passes, step_tokens
from beft.models.decoder import Decoder


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

    def scores(self, data: Prompts) -> np.ndarray:
        """Summed log-likelihoods (n, C)."""
        most = max(len(each) for each in data.answers)
        out = np.full((len(data), most), ABSENT, np.float32)
        model = self.decoder.model

        def scored(rows: np.ndarray) -> np.ndarray:
            pass_ = arrange(items(data, rows), self.device, model.dtype)
            scores = candidate_scores(model, pass_, self.cache)
            return grid(scores, pass_.counts, ABSENT).cpu().numpy()

        for rows in by_tokens(data, 2 * step_tokens(self.device)):
            for part, table in self.passes.attempt(rows, scored):
                out[part, : table.shape[1]] = table
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

        def written(rows: np.ndarray) -> list[list[int]] | None:
            prompts = [data.prompts[r] for r in rows]
            model = self.decoder.model
            return generate(model, prompts, stop, most, self.device, self.cache, self.passes.tick)

        for rows in by_tokens(data, 2 * step_tokens(self.device)):
            for part, found in self.passes.attempt(rows, written):
                if found is None:
                    return np.full(out.shape, np.nan)
                for row, tokens in zip(part, found, strict=True):
                    out[row, : len(tokens)] = tokens
        return out
