"""The backward pass to the trained biases of an encoder like BERT, written by hand.

Nothing else gets a gradient: no weight, no embedding, nothing below the lowest trained bias. What
is not dropped is multiplied at the end of each branch, not at its start.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import torch

from beft.engine.encoder.flat import Flat
from beft.engine.encoder.forward import Key, Stats, Tape
from beft.engine.encoder.pooled import means_back
from beft.engine.encoder.table import Layer, Norm, Table
from beft.models.terms import TERMS


def lowest(keys: Collection[Key]) -> tuple[int, int]:
    """The layer of the bias that a pass meets first, and its place among `TERMS`."""
    return min((layer, TERMS.index(term)) for layer, term in keys)


@dataclass
class Sums:
    """Gradients of biases, summed over the rows of each run."""

    flat: Flat
    wanted: Collection[Key]
    found: dict[Key, torch.Tensor] = field(default_factory=dict)

    def add(
        self, layer: int, terms: tuple[str, ...], grad: torch.Tensor, factor: float = 1.0
    ) -> None:
        """Adds those of biases that stand side by side in the columns of a gradient."""
        asked = [i for i, term in enumerate(terms) if (layer, term) in self.wanted]
        if not asked:
            return
        width, start, end = grad.shape[1] // len(terms), asked[0], asked[-1] + 1
        sums = self.flat.sums(grad[:, start * width : end * width])
        sums = sums if factor == 1.0 else sums.mul_(factor)
        for i in asked:
            first = (i - start) * width
            self.found[layer, terms[i]] = sums[:, first : first + width]


def backward(
    table: Table,
    flat: Flat,
    tapes: Mapping[int, Tape],
    wanted: Collection[Key],
    grad: torch.Tensor,
) -> dict[Key, torch.Tensor]:
    """The gradient of each wanted bias for each run, (R, width) float32.

    Args:
        tapes: from `forward`, of all layers from the lowest wanted one on.
        grad: of what `forward` returned, (S, H).
    """
    with torch.no_grad(), torch.autocast(grad.device.type, enabled=False):
        sums, (bottom, place) = Sums(flat, wanted), lowest(wanted)
        grad = grad if table.firsts else means_back(flat, grad)
        below: torch.Tensor | None = grad.to(table.dtype)
        for i in range(len(table.layers) - 1, bottom - 1, -1):
            assert below is not None
            end = place if i == bottom else -1
            below = _layer(table, table.layers[i], tapes[i], i, sums, below, end)
        return sums.found


def _layer(
    table: Table, layer: Layer, tape: Tape, i: int, sums: Sums, grad: torch.Tensor, end: int
) -> torch.Tensor | None:
    """The gradient of a layer's input, (N, H), or None where the pass ends in it.

    Args:
        end: place among `TERMS` of the last bias to reach; -1 to go through the layer.
    """
    last = TERMS[end] if end >= 0 else ""
    sums.add(i, ("output_norm",), grad)
    if last == "output_norm":
        return None
    residual = _unnormed(grad, tape.output_normed, layer.output_norm)
    mask, boost = tape.out
    grad = residual if mask is None else residual * mask
    sums.add(i, ("output",), grad, boost)
    if last == "output":
        return None
    grad = table.activation.gradient(layer.output.back(grad), tape.inner)
    sums.add(i, ("intermediate",), grad, boost)
    if last == "intermediate":
        return None
    grad = torch.add(residual, layer.intermediate.back(grad), alpha=boost)
    sums.add(i, ("attention_norm",), grad)
    if last == "attention_norm":
        return None
    residual = _unnormed(grad, tape.normed, layer.attention_norm)
    mask, boost = tape.attended
    grad = residual if mask is None else residual * mask
    sums.add(i, ("attention_output",), grad, boost)
    if last == "attention_output":
        return None
    grad = layer.attention_output.back(grad)
    joint, query = tape.attention.backward(grad, tape.kept, only_values=last == "v")
    if last == "v":
        sums.add(i, ("v",), joint, boost)
        return None
    sums.add(i, layer.joined, joint, boost)
    if query is not None:
        sums.add(i, ("q",), query, boost)
    if last:
        return None
    grad = layer.joint.back(joint)
    if query is None or layer.query is None:
        return torch.add(residual, grad, alpha=boost)
    grad = grad if boost == 1.0 else grad.mul_(boost)
    residual = torch.add(residual, layer.query.back(query), alpha=boost)
    return grad.index_add_(0, sums.flat.first, residual)


def _unnormed(grad: torch.Tensor, stats: Stats, norm: Norm) -> torch.Tensor:
    x, mean, deviation = stats
    return torch.ops.aten.native_layer_norm_backward(
        grad, x, norm.weight.shape, mean, deviation, norm.weight, norm.bias, [True, False, False]
    )[0]
