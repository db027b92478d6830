"""The forward pass of an encoder like BERT over a row of tokens, written by hand."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch

from beft.engine.encoder.blocks import Attention, Drops, Kept
from beft.engine.encoder.flat import Flat
from beft.engine.encoder.frozen import Frozen, typed
from beft.engine.encoder.pooled import means
from beft.engine.encoder.table import Drop, Layer, Norm, Table

Key = tuple[int, str]  # layer and term of a bias
Values = Mapping[Key, torch.Tensor]  # (R, width), the value of each run of the row
Stats = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # input of a norm, its mean and deviation
Masks = dict[tuple[int, int], torch.Tensor]  # number of a dropout, block of attention -> 0 or 1
Dropped = tuple[torch.Tensor | None, float]  # 0 or 1 for each feature, and the factor of the rest


@dataclass(frozen=True)
class Tape:
    """What the backward pass through a layer needs."""

    attention: Attention
    kept: Kept
    attended: Dropped
    normed: Stats
    inner: torch.Tensor  # input of the activation
    out: Dropped
    output_normed: Stats


def forward(
    table: Table, flat: Flat, values: Values, lowest: int | None = None
) -> tuple[torch.Tensor, dict[int, Tape]]:
    """What the head reads, (S, H), and the tape of layers from `lowest` on.

    That is the last hidden state of each sequence's first token, or the mean of all its tokens'.
    """
    with torch.no_grad(), torch.autocast(flat.ids.device.type, enabled=False):
        masks = _masks(table, flat)
        attentions = {firsts: attention_of(table, flat, firsts) for firsts in (False, True)}
        x = embedded(table, flat, masks)
        tapes = {}
        for i, layer in enumerate(table.layers):
            own = {term: values[i, term] for term in layer.biases if (i, term) in values}
            attention = attentions[layer.query is not None]
            x, tape = _layer(table, layer, flat, x, own, masks, attention)
            if lowest is not None and i >= lowest:
                tapes[i] = tape
            del tape
        return x if table.firsts else means(flat, x), tapes


def _masks(table: Table, flat: Flat) -> Masks:
    """0 where a dropout is, else 1: all of the pass, as many at once as fit into the cache."""
    found: Masks = {}
    if flat.noise is None:
        return found
    count = len(table.layers) - table.firsts
    inner, last = table.layers[:count], table.layers[count:]
    tokens, firsts = ([d for x in some for d in (x.attended, x.out)] for some in (inner, last))
    width = table.layers[0].output_norm.weight.shape[0]
    narrow = table.embeddings.words.shape[1]
    for drops, size, few in (
        ([table.embeddings.drop], narrow, False),
        (tokens, width, False),
        (firsts, width, True),
    ):
        for p, numbers in _alike(drops).items():
            masks = flat.noise.features(numbers, size, p, few, table.dtype)
            found |= {(n, -1): mask for n, mask in zip(numbers, masks, strict=True)}
    for some, few in ((inner, False), (last, True)):
        for p, numbers in _alike([layer.shares for layer in some]).items():
            for i, block in enumerate(flat.blocks):
                rows = flat.noise.keys[block.places[:, :1] if few else block.places]
                width = block.places.shape[1]
                masks = flat.noise.attention(numbers, rows, table.heads, width, p)
                found |= {(n, i): mask for n, mask in zip(numbers, masks, strict=True)}
    return found


def _alike(drops: list[Drop | None]) -> dict[float, list[int]]:
    """The numbers of dropouts of equal probability."""
    found: dict[float, list[int]] = {}
    for drop in drops:
        if drop is not None:
            found.setdefault(drop.p, []).append(drop.number)
    return found


def embedded(table: Table, flat: Flat, masks: Masks) -> torch.Tensor:
    """Hidden states before the first layer, (N, H)."""
    weights, norm = table.embeddings, table.embeddings.norm
    x = weights.words.index_select(0, flat.ids[0])
    if weights.types is None or flat.types is None:
        x += weights.plain.index_select(0, flat.positions[0])
    else:
        x += weights.types.index_select(0, flat.types[0])
        x += weights.positions.index_select(0, flat.positions[0])
    x = torch.layer_norm(x, norm.weight.shape, norm.weight, norm.bias, norm.epsilon)
    if weights.project is None:
        x = x.to(table.dtype)
    mask, boost = _dropped(flat, weights.drop, masks)
    if mask is not None:
        x = x.mul_(mask).mul_(boost)
    return x if weights.project is None else weights.project(x).to(table.dtype)


def _layer(
    table: Table,
    layer: Layer,
    flat: Flat,
    x: torch.Tensor,
    own: Mapping[str, torch.Tensor],
    masks: Masks,
    attention: Attention,
) -> tuple[torch.Tensor, Tape]:
    """Hidden states after a layer, of first tokens alone if it computes no others."""
    linear = partial(_linear, layer, own=own, flat=flat)
    joint, query = linear(layer.joint, layer.joined, x), None
    if layer.query is not None:
        x = x.index_select(0, flat.first)
        query = linear(layer.query, ("q",), x)
    drops: Drops = None, 1.0
    if flat.noise is not None and layer.shares is not None:
        number, boost = layer.shares.number, layer.shares.boost
        drops = [masks[number, i] for i in range(len(flat.blocks))], boost
    attended, kept = attention.forward(joint, query, drops)
    attended = linear(layer.attention_output, ("attention_output",), attended)
    dropped, dropped_out = (_dropped(flat, d, masks) for d in (layer.attended, layer.out))
    summed = _added(x, attended, dropped)
    x, normed = _normed(summed, layer.attention_norm, own.get("attention_norm"), flat)
    inner = linear(layer.intermediate, ("intermediate",), x)
    out = linear(layer.output, ("output",), table.activation.function(inner))
    summed = _added(x, out, dropped_out)
    x, output_normed = _normed(summed, layer.output_norm, own.get("output_norm"), flat)
    return x, Tape(attention, kept, dropped, normed, inner, dropped_out, output_normed)


def attention_of(table: Table, flat: Flat, firsts: bool) -> Attention:
    on_cpu = flat.ids.device.type == "cpu"
    return Attention(
        flat=flat,
        heads=table.heads,
        width=len(table.layers[0].biases["q"]) // table.heads,
        firsts=firsts,
        # Products as small as a head's are several times slower in bfloat16 on many CPUs.
        dtype=torch.float32 if on_cpu else table.dtype,
    )


def _linear(
    layer: Layer,
    frozen: Frozen,
    terms: tuple[str, ...],
    x: torch.Tensor,
    own: Mapping[str, torch.Tensor],
    flat: Flat,
) -> torch.Tensor:
    """A product with the biases of these terms: each run's own, or those of the model."""
    if not any(term in own for term in terms):
        return frozen.product(x, frozen.bias)
    one = len(flat.sequences) == 1
    parts = [
        layer.biases[t] if t not in own else own[t][0] if one else torch.zeros_like(layer.biases[t])
        for t in terms
    ]
    bias = typed(parts[0] if len(parts) == 1 else torch.cat(parts), frozen.dtype)
    out = frozen.product(x, bias)
    if not one:
        width = out.shape[1] // len(terms)
        for i, term in enumerate(terms):
            if term in own:
                added = typed(own[term], out.dtype).index_select(0, flat.owner(len(x)))
                out[:, i * width : (i + 1) * width] += added
    return out


def _dropped(flat: Flat, drop: Drop | None, masks: Masks) -> Dropped:
    if drop is None or flat.noise is None:
        return None, 1.0
    return masks[drop.number, -1], drop.boost


def _added(x: torch.Tensor, change: torch.Tensor, dropped: Dropped) -> torch.Tensor:
    """A residual and what changes it, after its dropout."""
    mask, boost = dropped
    return change.add_(x) if mask is None else torch.addcmul(x, change, mask, value=boost)


def _normed(
    x: torch.Tensor, norm: Norm, own: torch.Tensor | None, flat: Flat
) -> tuple[torch.Tensor, Stats]:
    bias = norm.bias if own is None else own[0].to(norm.bias.dtype) if len(own) == 1 else None
    out, mean, deviation = torch.native_layer_norm(
        x, norm.weight.shape, norm.weight, bias, norm.epsilon
    )
    if own is not None and len(own) > 1:
        out += own.to(out.dtype).index_select(0, flat.owner(len(x)))
    return out, (x, mean, deviation)
