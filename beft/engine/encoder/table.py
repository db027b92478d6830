"""The frozen weights of an encoder like BERT, in the form that the hand-written passes read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch.nn.functional import gelu, relu

from beft.engine.encoder.frozen import Activation, Frozen
from beft.models.encoder import Encoder
from beft.models.terms import PROJECTIONS, TERMS

_TANH = Activation(
    partial(gelu, approximate="tanh"),
    partial(torch.ops.aten.gelu_backward, approximate="tanh"),
    ("gelu", "tanh"),
)
ACTIVATIONS = {
    "gelu": Activation(gelu, torch.ops.aten.gelu_backward, ("gelu", "none")),
    "gelu_new": _TANH,
    "gelu_pytorch_tanh": _TANH,
    "relu": Activation(
        relu, lambda grad, x: torch.ops.aten.threshold_backward(grad, x, 0), ("relu", "")
    ),
}


@dataclass(frozen=True)
class Paths:
    """Where a family keeps what is no linear of a layer."""

    layers: str  # the list of layers, below the base model
    # of a layer: norms after attention and at its end; modules with the dropout of attention, of
    # its output (none in DistilBERT) and of the layer's output
    norms: tuple[str, str]
    dropouts: tuple[str, str | None, str]
    activation: str = "hidden_act"  # in the configuration


_BERT = Paths(
    "encoder.layer",
    ("attention.output.LayerNorm", "output.LayerNorm"),
    ("attention.self.dropout", "attention.output.dropout", "output.dropout"),
)
_DISTILBERT = Paths(
    "transformer.layer",
    ("sa_layer_norm", "output_layer_norm"),
    ("attention.dropout", None, "ffn.dropout"),
    "activation",
)
FAMILIES = dict.fromkeys(("bert", "roberta", "xlm-roberta", "camembert", "electra"), _BERT)
FAMILIES |= {"distilbert": _DISTILBERT}


@dataclass(frozen=True)
class Norm:
    """A layer norm."""

    weight: torch.Tensor  # (width,)
    bias: torch.Tensor  # the same type
    epsilon: float


@dataclass(frozen=True)
class Drop:
    """A dropout; `number` is its place among those of the model that drop anything."""

    p: float
    number: int

    @property
    def boost(self) -> float:
        """The factor of what is not dropped."""
        return 1 / (1 - self.p)


@dataclass(frozen=True)
class Layer:
    """One layer; queries stand apart in one that computes first tokens alone."""

    joint: Frozen  # queries, keys and values side by side, or keys and values
    query: Frozen | None  # where first tokens alone have any
    attention_output: Frozen
    attention_norm: Norm
    intermediate: Frozen
    output: Frozen
    output_norm: Norm
    # dropouts, None where nothing is dropped
    shares: Drop | None
    attended: Drop | None
    out: Drop | None
    biases: Mapping[str, torch.Tensor]  # term -> pretrained bias, float32

    @property
    def joined(self) -> tuple[str, ...]:
        """The terms of `joint`."""
        return PROJECTIONS if self.query is None else PROJECTIONS[1:]


@dataclass(frozen=True)
class Embeddings:
    """Weights before the first layer."""

    words: torch.Tensor
    positions: torch.Tensor
    types: torch.Tensor | None
    plain: torch.Tensor  # positions with the first type added, for tokens without a type
    norm: Norm
    drop: Drop | None
    project: torch.nn.Linear | None  # to the width of the layers, where embeddings are narrower


@dataclass(frozen=True)
class Table:
    """All of it."""

    embeddings: Embeddings
    layers: tuple[Layer, ...]
    heads: int
    activation: Activation
    dtype: torch.dtype  # of hidden states and products

    @property
    def firsts(self) -> bool:
        """Whether the head reads first tokens, so that the last layer computes no others."""
        return self.layers[-1].query is not None


_TABLES: WeakKeyDictionary[torch.nn.Module, dict[torch.dtype, Table]] = WeakKeyDictionary()


def table_of(encoder: Encoder, dtype: torch.dtype) -> Table | None:
    """The table of a model, made once; None where its architecture is no kin of BERT's.

    Args:
        dtype: that the passes compute in.
    """
    config = encoder.model.config
    paths = FAMILIES.get(config.model_type)
    if paths is None or set(encoder.sites.terms) != set(TERMS):
        return None
    if getattr(config, paths.activation) not in ACTIVATIONS or getattr(config, "is_decoder", False):
        return None
    made = _TABLES.setdefault(encoder.model, {})
    if dtype not in made:
        made[dtype] = _table(encoder, paths, dtype)
    return made[dtype]


def _table(encoder: Encoder, paths: Paths, dtype: torch.dtype) -> Table:
    config, base = encoder.model.config, encoder.model.base_model
    numbers = _Numbers()
    embeddings = _embeddings(base, numbers)
    layers: Sequence[Any] = base.get_submodule(paths.layers)  # type: ignore[assignment]
    apart = len(layers) - 1 if encoder.pooling == "first" else None
    return Table(
        embeddings=embeddings,
        layers=tuple(
            _layer(encoder, layer, i, i == apart, paths, numbers, dtype)
            for i, layer in enumerate(layers)
        ),
        heads=config.num_attention_heads,
        activation=ACTIVATIONS[getattr(config, paths.activation)],
        dtype=dtype,
    )


class _Numbers:
    """Numbers dropouts in the order in which the model applies them."""

    def __init__(self) -> None:
        self.count = 0

    def next(self, module: Any) -> Drop | None:
        if module is None or not module.p:
            return None
        self.count += 1
        return Drop(module.p, self.count)


def _embeddings(base: torch.nn.Module, numbers: _Numbers) -> Embeddings:
    module: Any = base.embeddings
    types = getattr(module, "token_type_embeddings", None)
    positions = module.position_embeddings.weight.detach()
    return Embeddings(
        words=module.word_embeddings.weight.detach(),
        positions=positions,
        types=None if types is None else types.weight.detach(),
        plain=positions if types is None else positions + types.weight.detach()[0],
        norm=_norm(module.LayerNorm, torch.float32),
        drop=numbers.next(module.dropout),
        project=getattr(base, "embeddings_project", None),
    )


def _layer(
    encoder: Encoder,
    layer: torch.nn.Module,
    index: int,
    apart: bool,
    paths: Paths,
    numbers: _Numbers,
    dtype: torch.dtype,
) -> Layer:
    sites = {s.term: s for s in encoder.sites.sites if s.layer == index}
    linears: dict[str, Any] = {t: encoder.model.get_submodule(s.module) for t, s in sites.items()}
    first, second = (_norm(layer.get_submodule(path), dtype) for path in paths.norms)
    shares, attended, out = (
        numbers.next(None if path is None else layer.get_submodule(path)) for path in paths.dropouts
    )
    joint = PROJECTIONS[1:] if apart else PROJECTIONS
    return Layer(
        joint=Frozen([linears[term] for term in joint], dtype),
        query=Frozen([linears["q"]], dtype) if apart else None,
        attention_output=Frozen([linears["attention_output"]], dtype),
        attention_norm=first,
        intermediate=Frozen([linears["intermediate"]], dtype),
        output=Frozen([linears["output"]], dtype),
        output_norm=second,
        shares=shares,
        attended=attended,
        out=out,
        biases={t: encoder.model.get_parameter(s.parameter).detach() for t, s in sites.items()},
    )


def _norm(module: Any, dtype: torch.dtype) -> Norm:
    """On a GPU in the type of what is normed; a CPU norms it with float32 weights as well."""
    dtype = dtype if module.weight.is_cuda else torch.float32
    return Norm(module.weight.detach().to(dtype), module.bias.detach().to(dtype), module.eps)
