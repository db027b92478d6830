"""Per-example gradients of an encoder's biases, without padding or from a padded batch."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack

import numpy as np
import torch

from beft.data.encoded import Encoded
from beft.engine.batches import collate
from beft.engine.encoder.backward import backward
from beft.engine.encoder.flat import Flat, first_position, flatten
from beft.engine.encoder.forward import forward
from beft.engine.encoder.frozen import frozen_linears
from beft.engine.encoder.rowwise import AddOwn, computing, head_logits, pooled_states
from beft.engine.encoder.table import table_of
from beft.engine.shares import Share
from beft.models.encoder import Encoder

Parameters = Mapping[str, torch.nn.Parameter]
Hook = Callable[[torch.nn.Module, tuple, torch.Tensor], torch.Tensor | None]


def log_likelihood(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """log p(y_i|x_i) of each example, (B,).

    Classes: log-softmax at the label. Regression: a Gaussian of unit variance around the output,
    up to its constant.
    """
    if logits.shape[1] == 1:
        return -0.5 * (logits[:, 0] - labels) ** 2
    return torch.log_softmax(logits, dim=1).gather(1, labels[:, None])[:, 0]


def flat_gradients(
    encoder: Encoder, parameters: Parameters, data: Encoded, device: str, rows: np.ndarray
) -> dict[str, torch.Tensor]:
    """The gradient of log p(y_i|x_i) for each example: parameter name -> (rows, width).

    The packed engine's mechanism with one slot per example, in one row of tokens. A bias is added
    to every token, so its gradient for an example is the sum over that example's tokens of the
    gradient of what it is added to.
    """
    shares = [Share(i, data, rows[i : i + 1]) for i in range(len(rows))]
    row = flatten(shares, first_position(encoder.model.base_model), device)
    labels = data.labels[torch.as_tensor(rows)].to(device)
    table = table_of(encoder, torch.float32)
    if table is None:
        return _hooked(encoder, parameters, row, labels)
    states, tapes = forward(table, row, {}, 0)
    states.requires_grad_(True)
    total = log_likelihood(head_logits(encoder, row, states), labels).sum()
    (grad,) = torch.autograd.grad(total, states)
    keys = {s.parameter: (s.layer, s.term) for s in encoder.sites.sites}
    found = backward(table, row, tapes, [keys[name] for name in parameters], grad)
    return {name: found[keys[name]] for name in parameters}


def _hooked(
    encoder: Encoder, parameters: Parameters, row: Flat, labels: torch.Tensor
) -> dict[str, torch.Tensor]:
    """The same with the model's own forward pass."""
    model, count = encoder.model, len(row.sequences)
    slots = {n: p.new_zeros(count, len(p), requires_grad=True) for n, p in parameters.items()}
    linears = frozen_linears(encoder, torch.float32)
    with computing(encoder, row, linears, {}), ExitStack() as stack:
        for name, slot in slots.items():
            module = model.get_submodule(name.rpartition(".")[0])
            stack.callback(module.register_forward_hook(_sums_into(slot, row)).remove)
        logits = head_logits(encoder, row, pooled_states(encoder, row))
    total = log_likelihood(logits, labels).sum()
    return dict(zip(slots, torch.autograd.grad(total, list(slots.values())), strict=True))


def _sums_into(slot: torch.Tensor, row: Flat) -> Hook:
    return lambda module, args, out: AddOwn.apply(out, slot, row, False)


def padded_gradients(
    encoder: Encoder, parameters: Parameters, data: Encoded, device: str, rows: np.ndarray
) -> dict[str, torch.Tensor]:
    """The same from a padded batch.

    Examples go one by one where a module is applied more than once, or to something that is not
    the batch (DeBERTa's relative positions).
    """
    model = encoder.model
    batch = collate(data, rows, encoder.tokenizer.pad_token_id, device)
    outputs: dict[str, list[torch.Tensor]] = {name: [] for name in parameters}

    def keep(name: str) -> Hook:
        return lambda module, args, out: outputs[name].append(out)

    with ExitStack() as stack:
        for name, parameter in parameters.items():
            parameter.requires_grad_(True)
            module = model.get_submodule(name.rpartition(".")[0])
            stack.callback(module.register_forward_hook(keep(name)).remove)
        total = _total(encoder, batch)
    if any(len(o) != 1 or o[0].ndim != 3 or len(o[0]) != len(rows) for o in outputs.values()):
        ones = [{k: v[i : i + 1] for k, v in batch.items()} for i in range(len(rows))]
        values = list(parameters.values())
        each = [torch.autograd.grad(_total(encoder, one), values) for one in ones]
        return {n: torch.stack(g) for n, g in zip(parameters, zip(*each, strict=True), strict=True)}
    grads = torch.autograd.grad(total, [o[0] for o in outputs.values()])
    return {n: g.sum(1) for n, g in zip(outputs, grads, strict=True)}


def _total(encoder: Encoder, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """The sum of the log-likelihoods of a padded batch, ()."""
    inputs = {k: v for k, v in batch.items() if k != "labels"}
    return log_likelihood(encoder.model(**inputs).logits.float(), batch["labels"]).sum()
