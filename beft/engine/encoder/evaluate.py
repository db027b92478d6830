"""The forward pass of an encoder like BERT for its outputs alone: nothing is kept or dropped."""

from collections.abc import Mapping
from itertools import groupby

import torch
from torch.nn.functional import scaled_dot_product_attention

from beft.engine.encoder.blocks import Attention
from beft.engine.encoder.flat import Flat
from beft.engine.encoder.forward import Key, attention_of, embedded
from beft.engine.encoder.frozen import Frozen
from beft.engine.encoder.pooled import means
from beft.engine.encoder.table import Layer, Norm, Table

Own = Mapping[str, torch.Tensor]  # term -> the bias in place of the model's, (width,)


def evaluate(table: Table, flat: Flat, values: Mapping[Key, torch.Tensor]) -> torch.Tensor:
    """What the head reads of each sequence (`forward`), (S, H) float32.

    Args:
        flat: of one run. On a CPU its sequences should be in order of their length.
        values: biases in place of the model's, (width,).
    """
    with torch.no_grad(), torch.autocast(flat.ids.device.type, enabled=False):
        attentions = {firsts: attention_of(table, flat, firsts) for firsts in (False, True)}
        x = embedded(table, flat, {})
        for i, layer in enumerate(table.layers):
            own = {term: values[i, term] for term in layer.biases if (i, term) in values}
            x = _layer(table, layer, attentions[layer.query is not None], x, own)
        return x.float() if table.firsts else means(flat, x)


def _layer(
    table: Table, layer: Layer, attention: Attention, x: torch.Tensor, own: Own
) -> torch.Tensor:
    """Hidden states after a layer, of first tokens alone if it computes no others."""

    def bias(frozen: Frozen, *terms: str) -> torch.Tensor | None:
        if not any(term in own for term in terms):
            return frozen.bias
        return torch.cat([own.get(t, layer.biases[t]) for t in terms]).to(frozen.dtype)

    joint, query = layer.joint.product(x, bias(layer.joint, *layer.joined)), None
    if layer.query is not None:
        x = x.index_select(0, attention.flat.first)
        query = layer.query.product(x, bias(layer.query, "q"))
    attended, output = _attended(attention, joint, query), layer.attention_output
    x = output.added(attended, bias(output, "attention_output"), x)
    x = _normed(x, layer.attention_norm, own.get("attention_norm"))
    inner = layer.intermediate.activated(
        x, bias(layer.intermediate, "intermediate"), table.activation
    )
    x = layer.output.added(inner, bias(layer.output, "output"), x)
    return _normed(x, layer.output_norm, own.get("output_norm"))


def _normed(x: torch.Tensor, norm: Norm, own: torch.Tensor | None) -> torch.Tensor:
    bias = norm.bias if own is None else own.to(norm.bias.dtype)
    return torch.layer_norm(x, norm.weight.shape, norm.weight, bias, norm.epsilon)


def _attended(
    attention: Attention, joint: torch.Tensor, query: torch.Tensor | None
) -> torch.Tensor:
    """The weighted values; see `Attention.forward`.

    On a CPU neighbours of equal length are one call, which reads the row as it lies.
    """
    if joint.is_cuda:
        return attention.forward(joint, query, (None, 1.0))[0]
    parts, size = 3 if query is None else 2, (attention.heads, attention.width)
    width = attention.heads * attention.width
    found, token, sequence = [], 0, 0
    for length, some in groupby(attention.flat.lengths.tolist()):
        count = len(list(some))
        rows = joint[token : token + count * length].view(count, length, parts, *size)
        lanes = rows.permute(2, 0, 3, 1, 4).unbind()
        q = lanes[0]
        if query is not None:
            q = query[sequence : sequence + count].view(count, 1, *size).transpose(1, 2)
        out = scaled_dot_product_attention(q, lanes[-2], lanes[-1], scale=attention.scaling)
        found.append(out.transpose(1, 2).reshape(-1, width))
        token, sequence = token + count * length, sequence + count
    if query is None:
        found.append(joint.new_zeros(len(joint) - attention.flat.tokens, width))
    return torch.cat(found)
