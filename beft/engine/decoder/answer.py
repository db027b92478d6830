"""A decoder's answers to the prompts of a split: scores of candidates, or generated tokens."""

from collections.abc import Callable

import numpy as np
import torch

from beft.data.encoded import by_tokens
from beft.data.prompts import ABSENT, Prompts
from beft.engine.decoder.generate import generate, newline_ids
from beft.engine.decoder.likelihood import Cache, candidate_scores, grid, lowering
from beft.engine.decoder.rows import arrange, items
from beft.engine.memory import attempted, step_tokens
from beft.models.decoder import Decoder


@torch.inference_mode()
def answers(
    decoder: Decoder,
    data: Prompts,
    settings: dict,
    device: str,
    tick: Callable[[], None] = lambda: None,
    cache: Cache | None = None,
) -> np.ndarray:
    """What the model answers, dropout off.

    Args:
        settings: of the recipe (`params.Training`): with `max_new_tokens`, answers are generated.
        tick: called before each batch.
        cache: a trained prefix.

    Returns:
        Scores (n, C) float32 of all candidates, `ABSENT` where an example has fewer; or tokens
        (n, T) int64, -1 behind the end. What is not finite stays so, also of a model that writes.
    """
    decoder.model.eval()
    with lowering(decoder.model, device, settings["precision"]):
        if most := settings.get("max_new_tokens"):
            return _generated(decoder, data, most, device, tick, cache)
        scores = _scores(decoder, data, device, tick, cache)
        lengths = _table([[float(len(a)) for a in own] for own in data.answers], 1.0)
        if settings["scoring"] == "plain":
            return scores
        if settings["scoring"] == "calibrated":
            bare = _bare(decoder, data, device, tick, cache)
            scores = np.where(scores == ABSENT, ABSENT, scores - bare)
    return np.where(scores == ABSENT, ABSENT, scores / lengths).astype(np.float32)


def _scores(decoder, data: Prompts, device, tick, cache=None) -> np.ndarray:
    """Summed log-likelihoods (n, C)."""
    most = max(len(own) for own in data.answers)
    out = np.full((len(data), most), ABSENT, np.float32)

    def scored(rows: np.ndarray) -> np.ndarray:
        pass_ = arrange(items(data, rows), device, decoder.model.dtype)
        scores = candidate_scores(decoder.model, pass_, cache)
        return grid(scores, pass_.counts, ABSENT).cpu().numpy()

    for rows in by_tokens(data, 2 * step_tokens(device)):
        tick()
        for part, table in attempted(rows, scored):
            out[part, : table.shape[1]] = table
    return out


def _bare(decoder, data: Prompts, device: str, tick, cache) -> np.ndarray:
    """Log-likelihoods (n, C) of the same answers after the last line of the prompt alone."""
    known: dict[tuple, int] = {}
    index = []
    for bare, own in zip(data.bare, data.answers, strict=True):
        index.append(known.setdefault((tuple(bare), *map(tuple, own)), len(known)))
    firsts = [index.index(i) for i in range(len(known))]
    chosen = data.take(np.array(firsts))
    alone = Prompts(chosen.bare, chosen.answers, chosen.bare, chosen.words, chosen.decode)
    return _scores(decoder, alone, device, tick, cache)[index]


def _generated(decoder, data: Prompts, most: int, device: str, tick, cache) -> np.ndarray:
    out = np.full((len(data), most), -1, np.int64)
    stop = newline_ids(decoder.tokenizer)

    def written(rows: np.ndarray) -> list[list[int]] | None:
        prompts = [data.prompts[r] for r in rows]
        return generate(decoder.model, prompts, stop, most, device, cache, tick)

    for rows in by_tokens(data, 2 * step_tokens(device)):
        for part, found in attempted(rows, written):
            if found is None:
                return np.full(out.shape, np.nan)
            for row, tokens in zip(part, found, strict=True):
                out[row, : len(tokens)] = tokens
    return out


def _table(values: list[list[float]], absent: float) -> np.ndarray:
    out = np.full((len(values), max(map(len, values))), absent, np.float32)
    for row, own in enumerate(values):
        out[row, : len(own)] = own
    return out
