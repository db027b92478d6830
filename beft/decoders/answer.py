"""A decoder's answers to the prompts of a split: scores of candidates, or generated tokens."""

from collections.abc import Callable

import numpy as np
import torch

from beft.batches import by_tokens
from beft.decoders.encode import ABSENT, Prompts
from beft.decoders.generate import generate, newline_ids
from beft.decoders.likelihood import Cache, candidate_scores, grid, lowering
from beft.decoders.models import Decoder
from beft.decoders.rows import Item, arrange, items
from beft.memory import smaller, step_tokens


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
        (n, T) int64, -1 behind the end.
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
            scores = np.where(scores > ABSENT, scores - _bare(decoder, data, device, tick), ABSENT)
    return np.where(scores > ABSENT, scores / lengths, ABSENT).astype(np.float32)


def _scores(decoder, data: Prompts, device, tick, cache=None) -> np.ndarray:
    """Summed log-likelihoods (n, C)."""
    most = max(len(own) for own in data.answers)
    out = np.full((len(data), most), ABSENT, np.float32)
    for rows in by_tokens(data, 2 * step_tokens(device)):
        tick()
        for part, table in _attempted(decoder, items(data, rows), rows, device, cache):
            out[part, : table.shape[1]] = table
    return out


def _attempted(decoder, examples: list[Item], rows: np.ndarray, device: str, cache):
    """Tables of scores of these rows, in as many passes as memory takes."""
    try:
        pass_ = arrange(examples, device, decoder.model.dtype)
        scores = candidate_scores(decoder.model, pass_, cache)
        found = grid(scores, pass_.counts, ABSENT).cpu().numpy()
    except torch.OutOfMemoryError as error:
        half = smaller(len(rows), error)
        yield from _attempted(decoder, examples[:half], rows[:half], device, cache)
        yield from _attempted(decoder, examples[half:], rows[half:], device, cache)
        return
    yield rows, found


def _bare(decoder, data: Prompts, device: str, tick) -> np.ndarray:
    """Log-likelihoods (n, C) of the same answers after the last line of the prompt alone."""
    known: dict[tuple, int] = {}
    index = []
    for bare, own in zip(data.bare, data.answers, strict=True):
        index.append(known.setdefault((tuple(bare), *map(tuple, own)), len(known)))
    firsts = [index.index(i) for i in range(len(known))]
    chosen = data.take(np.array(firsts))
    alone = Prompts(chosen.bare, chosen.answers, chosen.bare, chosen.words, chosen.decode)
    return _scores(decoder, alone, device, tick)[index]


def _generated(decoder, data: Prompts, most: int, device: str, tick, cache) -> np.ndarray:
    out = np.full((len(data), most), -1, np.int64)
    stop = newline_ids(decoder.tokenizer)
    for rows in by_tokens(data, 2 * step_tokens(device)):
        prompts = [data.prompts[r] for r in rows]
        found = generate(decoder.model, prompts, stop, most, device, cache, tick)
        for row, tokens in zip(rows, found, strict=True):
            out[row, : len(tokens)] = tokens
    return out


def _table(values: list[list[float]], absent: float) -> np.ndarray:
    out = np.full((len(values), max(map(len, values))), absent, np.float32)
    for row, own in enumerate(values):
        out[row, : len(own)] = own
    return out
