"""Per-example gradients of every bias at the pretrained weights: Fisher scores and inert terms."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from beft.batches import Encoded, chunks, collate
from beft.sites import BiasSites


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
    model,
    sites: BiasSites,
    data: Encoded,
    pad: int,
    device: str,
    batch_size: int,
    progress: Callable[[int], None] = lambda done: None,
) -> Gradients:
    """Gradients of every bias for every example, dropout off, float32 (equation of section 2.2).

    Args:
        data: the training subset, in its order.
        batch_size: of `batch_square`; the per-example statistics do not depend on it.
        progress: called with the number of examples done.
    """
    model.eval()
    wanted = {s.parameter for s in sites.sites}
    parameters = {n: p for n, p in model.named_parameters() if n in wanted}
    flags = [(p, p.requires_grad) for p in model.parameters()]
    for p in model.parameters():
        p.requires_grad_(False)
    for p in parameters.values():
        p.requires_grad_(True)
    sums = [_zeros(parameters) for _ in range(3)]
    try:
        batches = 0
        for rows in chunks(np.arange(len(data)), batch_size):
            grads = per_example(model, parameters, collate(data, rows, pad, device))
            mean = {n: g.mean(0) for n, g in grads.items()}
            norm = torch.sqrt(sum((g.double() ** 2).sum() for g in mean.values())).item()
            scale = min(1.0, 1.0 / (norm + 1e-6))
            for name, g in grads.items():
                g = g.double()
                sums[0][name] += (g**2).sum(0)
                sums[1][name] += (mean[name].double() * scale) ** 2
                sums[2][name] += g.abs().sum(0)
            batches += 1
            progress(int(rows[-1]) + 1)
    finally:
        for p, flag in flags:
            p.requires_grad_(flag)
    counts = (len(data), batches, len(data))
    return Gradients(*(_by_term(s, sites, n) for s, n in zip(sums, counts, strict=True)))


def per_example(model, parameters: dict, batch: dict) -> dict[str, torch.Tensor]:
    """The gradient of log p(y_i|x_i) for each example: parameter name -> (B, width).

    A bias is added to every token of its module's output, so its gradient for one example is the
    sum over that example's tokens of the gradient of the output: one backward pass serves the
    whole batch. Where a module is applied more than once, or to something that is not the batch
    (DeBERTa's relative positions), examples go one by one.
    """
    labels = batch["labels"]
    inputs = {k: v for k, v in batch.items() if k != "labels"}
    outputs: dict[str, list[torch.Tensor]] = {name: [] for name in parameters}
    modules = dict(model.named_modules())

    def keep(name):
        return lambda module, args, out: outputs[name].append(out)

    hooks = [
        modules[name.rpartition(".")[0]].register_forward_hook(keep(name)) for name in parameters
    ]
    try:
        total = log_likelihood(model(**inputs).logits.float(), labels).sum()
    finally:
        for hook in hooks:
            hook.remove()
    size = len(labels)
    once = all(len(o) == 1 and o[0].shape[0] == size and o[0].ndim == 3 for o in outputs.values())
    if not once:
        return _one_by_one(model, parameters, batch)
    tensors = [o[0] for o in outputs.values()]
    grads = torch.autograd.grad(total, tensors)
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
        return values if site.rows is None else values[slice(*site.rows)]

    return {term: np.stack([of(s) for s in sites.of(term)]) for term in sites.terms}
