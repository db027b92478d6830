"""Per-example gradients of every bias at the pretrained weights: Fisher scores and inert terms."""

from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from beft.data.encoded import Encoded, collate
from beft.engine.decoder.gradients import answer_gradients
from beft.engine.encoder.flat import Flat, first_position, flatten
from beft.engine.encoder.frozen import frozen_linears
from beft.engine.encoder.rowwise import AddOwn, computing, first_states, head_logits
from beft.engine.memory import attempted, fitting_tokens, smaller, step_tokens
from beft.engine.shares import Share
from beft.models.decoder import Decoder
from beft.models.encoder import Encoder
from beft.models.sites import BiasSites


@dataclass(frozen=True)
class Gradients:
    """Statistics of the gradients of log p(y|x), each term -> (layers, width) float64.

    Attributes:
        mean_square: mean over examples of the squared gradient (the Fisher information's diagonal).
        batch_square: mean over batches of the squared gradient of the batch's mean, after
            clipping that gradient to global norm 1 over all biases of the layers.
        mean_abs: mean over examples of the absolute gradient.
    """

    mean_square: dict[str, np.ndarray]
    batch_square: dict[str, np.ndarray]
    mean_abs: dict[str, np.ndarray]


def log_likelihood(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """log p(y_i|x_i) of each example, (B,).

    Classes: log-softmax at the label. Regression: a Gaussian of unit variance around the output,
    up to its constant.
    """
    if logits.shape[1] == 1:
        return -0.5 * (logits[:, 0] - labels) ** 2
    return torch.log_softmax(logits, dim=1).gather(1, labels[:, None])[:, 0]


def measure(
    encoder: Encoder | Decoder,
    data: Any,
    device: str,
    batch_size: int,
    flat: bool,
    progress: Callable[[int], None] = lambda done: None,
) -> Gradients:
    """Gradients of every bias for every example, dropout off, float32 (equation of section 2.2).

    Args:
        data: the training subset, in its order.
        batch_size: of `batch_square`; the per-example statistics do not depend on it.
        flat: whether the model can be computed without padding (`engine.serves`).
        progress: called with the number of examples done.
    """
    model = encoder.model.eval()
    wanted = {s.parameter for s in encoder.sites.sites}
    parameters = {n: p for n, p in model.named_parameters() if n in wanted}
    flags = [(p, p.requires_grad) for p in model.parameters()]
    for p in model.parameters():
        p.requires_grad_(False)
    sums = [_zeros(parameters) for _ in range(3)]
    batches = done = 0
    try:
        for rows, grads in _chunks(encoder, parameters, data, device, batch_size, flat):
            batches += _add(sums, grads, len(rows), batch_size)
            done += len(rows)
            progress(done)
    finally:
        for p, flag in flags:
            p.requires_grad_(flag)
    counts = (len(data), batches, len(data))
    return Gradients(*(_by_term(s, encoder.sites, n) for s, n in zip(sums, counts, strict=True)))


def _chunks(encoder, parameters, data, device, batch_size, flat):
    """Rows of consecutive whole batches, and each example's gradient: name -> (rows, width)."""
    rows, tokens = np.arange(len(data)), step_tokens(device)
    work = partial(_padded, encoder, parameters, data, device)
    if isinstance(encoder, Decoder):
        work = partial(answer_gradients, encoder, parameters, data, device)
    elif flat:
        linears = frozen_linears(encoder, torch.float32)
        work = partial(_flat, encoder, parameters, linears, data, device)
    if flat:
        few = rows[:batch_size]
        sample = sum(data.length(row) for row in few)
        with suppress(torch.OutOfMemoryError):  # met again, and dealt with, below
            tokens = fitting_tokens(device, tokens, sample, lambda: work(few))
    while len(rows):
        own = rows[: _whole_batches(data, rows, batch_size, tokens) if flat else batch_size]
        if len(own) > batch_size:
            try:
                grads = work(own)
            except torch.OutOfMemoryError as error:
                tokens = smaller(tokens, error)
                continue
        else:
            grads = _joined([part for _, part in attempted(own, work)])
        yield own, grads
        rows = rows[len(own) :]


def _joined(parts: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _whole_batches(data: Any, rows: np.ndarray, batch_size: int, tokens: int) -> int:
    """How many of these rows make whole batches of at most `tokens` tokens, one batch at least."""
    total = np.cumsum([data.length(row) for row in rows[: max(tokens, batch_size)]])
    fit = int((total <= tokens).sum())
    return len(rows) if fit == len(rows) else max(1, fit // batch_size) * batch_size


def _add(sums: list[dict], grads: dict[str, torch.Tensor], count: int, batch_size: int) -> int:
    """Adds a chunk's statistics to the sums; returns its number of batches."""
    device = next(iter(grads.values())).device
    batch = torch.arange(count, device=device) // batch_size
    sizes = torch.bincount(batch).double()
    means = {}
    for name, g in grads.items():
        g = g.double()
        sums[0][name] += (g**2).sum(0)
        sums[2][name] += g.abs().sum(0)
        total = g.new_zeros(len(sizes), g.shape[1]).index_add_(0, batch, g)
        means[name] = total / sizes[:, None]
    norms = torch.sqrt(sum((m**2).sum(1) for m in means.values()))
    scale = (1.0 / (norms + 1e-6)).clamp(max=1.0)[:, None]
    for name, mean in means.items():
        sums[1][name] += ((mean * scale) ** 2).sum(0)
    return len(sizes)


def _flat(
    encoder, parameters: dict, linears: dict, data: Encoded, device: str, rows: np.ndarray
) -> dict:
    """The gradient of log p(y_i|x_i) for each example: parameter name -> (rows, width).

    The packed engine's mechanism with one slot per example, in one row of tokens. A bias is added
    to every token, so its gradient for an example is the sum over that example's tokens of the
    gradient of what it is added to.
    """
    model = encoder.model
    shares = [Share(i, data, rows[i : i + 1]) for i in range(len(rows))]
    row = flatten(shares, first_position(model.base_model), device)
    slots = {n: p.new_zeros(len(rows), len(p), requires_grad=True) for n, p in parameters.items()}
    with computing(encoder, row, linears, {}), ExitStack() as stack:
        for name, slot in slots.items():
            module = model.get_submodule(name.rpartition(".")[0])
            stack.callback(module.register_forward_hook(_sums_into(slot, row)).remove)
        logits = head_logits(encoder, row, first_states(encoder, row))
    labels = data.labels[torch.as_tensor(rows)].to(device)
    total = log_likelihood(logits, labels).sum()
    return dict(zip(slots, torch.autograd.grad(total, list(slots.values())), strict=True))


def _sums_into(slot: torch.Tensor, row: Flat):
    return lambda module, args, out: AddOwn.apply(out, slot, row, False)


def _padded(encoder, parameters: dict, data: Encoded, device: str, rows: np.ndarray) -> dict:
    """The same on a padded batch.

    Where a module is applied more than once, or to something that is not the batch (DeBERTa's
    relative positions), examples go one by one.
    """
    model = encoder.model
    batch = collate(data, rows, encoder.tokenizer.pad_token_id, device)
    labels = batch["labels"]
    inputs = {k: v for k, v in batch.items() if k != "labels"}
    outputs: dict[str, list[torch.Tensor]] = {name: [] for name in parameters}

    def keep(name):
        return lambda module, args, out: outputs[name].append(out)

    with ExitStack() as stack:
        for name, parameter in parameters.items():
            parameter.requires_grad_(True)
            module = model.get_submodule(name.rpartition(".")[0])
            stack.callback(module.register_forward_hook(keep(name)).remove)
        total = log_likelihood(model(**inputs).logits.float(), labels).sum()
    size = len(labels)
    once = all(len(o) == 1 and o[0].shape[0] == size and o[0].ndim == 3 for o in outputs.values())
    if not once:
        return _one_by_one(model, parameters, batch)
    grads = torch.autograd.grad(total, [o[0] for o in outputs.values()])
    return {n: g.sum(1) for n, g in zip(outputs, grads, strict=True)}


def _one_by_one(model, parameters: dict, batch: dict) -> dict[str, torch.Tensor]:
    rows = []
    for i in range(len(batch["labels"])):
        one = {k: v[i : i + 1] for k, v in batch.items()}
        labels = one.pop("labels")
        total = log_likelihood(model(**one).logits.float(), labels).sum()
        rows.append(torch.autograd.grad(total, list(parameters.values())))
    return {n: torch.stack(g) for n, g in zip(parameters, zip(*rows, strict=True), strict=True)}


def _zeros(parameters: dict) -> dict[str, torch.Tensor]:
    return {n: torch.zeros_like(p, dtype=torch.float64) for n, p in parameters.items()}


def _by_term(sums: dict, sites: BiasSites, count: int) -> dict[str, np.ndarray]:
    def of(site):
        values = sums[site.parameter].cpu().numpy() / count
        return values if site.rows is None else values[site.rows.index()]

    return {term: np.stack([of(s) for s in sites.of(term)]) for term in sites.terms}
