"""Statistics of per-example gradients of every bias, for Fisher scores and inert terms."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from beft.engine.base import Examples
from beft.engine.decoder.gradients import answer_gradients
from beft.engine.encoder.gradients import flat_gradients, padded_gradients
from beft.engine.memory import Passes, fitting_tokens, step_tokens
from beft.models.base import Model
from beft.models.decoder import Decoder
from beft.models.encoder import Encoder
from beft.models.sites import BiasSites

Grads = dict[str, torch.Tensor]  # parameter name -> (examples, width)
Work = Callable[[np.ndarray], Grads]  # rows -> their gradients


@dataclass(frozen=True)
class Gradients:
    """Statistics of the gradients of log p(y|x), each term -> (layers, width) float64."""

    # mean over examples of the squared gradient (the Fisher information's diagonal)
    mean_square: dict[str, np.ndarray]
    # mean over batches of the squared gradient of the batch's mean, after clipping that gradient to
    # global norm 1 over all biases of the layers
    batch_square: dict[str, np.ndarray]
    mean_abs: dict[str, np.ndarray]  # mean over examples of the absolute gradient


def measure(
    model: Model,
    data: Any,  # `Encoded` for an encoder, `Prompts` for a decoder
    device: str,
    batch_size: int,
    flat: bool,
    passes: Passes | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Gradients:
    """Gradients of every bias for every example, dropout off, float32 (equation of section 2.2).

    Args:
        data: the training subset, in its order.
        batch_size: of `batch_square`; the per-example statistics do not depend on it.
        flat: whether the model can be computed without padding (`dispatch.serves`).
        passes: counts those that do not fit into memory.
        progress: called with the number of examples done.
    """
    network = model.model.eval()
    wanted = {s.parameter for s in model.sites.sites}
    parameters = {n: p for n, p in network.named_parameters() if n in wanted}
    flags = [(p, p.requires_grad) for p in network.parameters()]
    for p in network.parameters():
        p.requires_grad_(False)
    sums = [
        {n: torch.zeros_like(p, dtype=torch.float64) for n, p in parameters.items()}
        for _ in range(3)
    ]
    batches = done = 0
    work = _work(model, parameters, data, device, flat)
    try:
        for rows, grads in _chunks(work, data, device, batch_size, flat, passes or Passes()):
            batches += _add(sums, grads, len(rows), batch_size)
            done += len(rows)
            progress(done)
    finally:
        for p, flag in flags:
            p.requires_grad_(flag)
    counts = (len(data), batches, len(data))
    return Gradients(*(_by_term(s, model.sites, n) for s, n in zip(sums, counts, strict=True)))


def _work(
    model: Model, parameters: dict[str, torch.nn.Parameter], data: Any, device: str, flat: bool
) -> Work:
    """The function that computes the gradients of some rows on this kind of model."""
    if isinstance(model, Decoder):
        return partial(answer_gradients, model, parameters, data, device)
    assert isinstance(model, Encoder)
    gradients = flat_gradients if flat else padded_gradients
    return partial(gradients, model, parameters, data, device)


def _chunks(
    work: Work, data: Examples, device: str, batch_size: int, flat: bool, passes: Passes
) -> Iterator[tuple[np.ndarray, Grads]]:
    """Rows of consecutive whole batches, and each example's gradient: name -> (rows, width)."""
    rows, tokens = np.arange(len(data)), step_tokens(device)
    if flat:
        few = rows[:batch_size]
        sample = sum(data.length(row) for row in few)
        with suppress(torch.OutOfMemoryError):  # met again, and dealt with, below
            tokens = fitting_tokens(device, tokens, sample, lambda: work(few))
    while len(rows):
        passes.tick()
        now = rows[: _whole_batches(data, rows, batch_size, tokens) if flat else batch_size]
        if len(now) > batch_size:
            try:
                grads = work(now)
            except torch.OutOfMemoryError as error:
                tokens = passes.half(tokens, error)
                continue
        else:
            parts = [part for _, part in passes.attempt(now, work)]
            grads = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        yield now, grads
        rows = rows[len(now) :]


def _whole_batches(data: Examples, rows: np.ndarray, batch_size: int, tokens: int) -> int:
    """How many of these rows form whole batches of at most `tokens` tokens, one batch at least."""
    total = np.cumsum([data.length(row) for row in rows[: max(tokens, batch_size)]])
    fit = int((total <= tokens).sum())
    return len(rows) if fit == len(rows) else max(1, fit // batch_size) * batch_size


def _add(sums: list[Grads], grads: Grads, count: int, batch_size: int) -> int:
    """Adds a chunk's float32 statistics to the double sums; returns its number of batches."""
    device = next(iter(grads.values())).device
    batch = torch.arange(count, device=device) // batch_size
    sizes = torch.bincount(batch)
    means, squares = {}, torch.zeros(len(sizes), dtype=torch.float64, device=device)
    for name, g in grads.items():
        sums[0][name] += g.square().sum(0)
        sums[2][name] += g.abs().sum(0)
        total = g.new_zeros(len(sizes), g.shape[1]).index_add_(0, batch, g)
        means[name] = total.div_(sizes[:, None])
        squares += means[name].square().sum(1)
    scale = (1.0 / (squares.sqrt() + 1e-6)).clamp(max=1.0).float()[:, None]
    for name, mean in means.items():
        sums[1][name] += mean.mul_(scale).square_().sum(0)
    return len(sizes)


def _by_term(sums: Grads, sites: BiasSites, count: int) -> dict[str, np.ndarray]:
    means = {name: total.cpu().numpy() / count for name, total in sums.items()}
    return {
        term: np.stack([means[site.parameter][site.index] for site in sites.of(term)])
        for term in sites.terms
    }
