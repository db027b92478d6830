"""Finds, reads and writes all biases inside the layers of a transformer."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from beft.errors import UserError
from beft.models.fused import Rows
from beft.models.roles import name_biases, other_biases
from beft.models.structure import Stack, declared_stack, find_stack
from beft.models.terms import PROJECTIONS, TERMS


@dataclass(frozen=True)
class Site:
    """One bias vector of one layer."""

    term: str  # kind of bias, such as `v` or `attention_output`
    layer: int  # index of the layer, from 0
    module: str  # full path of the module that owns the bias
    parameter: str  # full name of the bias, as in `model.named_parameters()`
    # the term's rows of a fused projection; None where the whole parameter is the bias
    rows: Rows | None = None

    @property
    def index(self) -> slice | np.ndarray:
        """The index of the bias in the whole parameter."""
        return slice(None) if self.rows is None else self.rows.index()


@dataclass(frozen=True)
class BiasSites:
    """All biases inside the layers of one model: each term once in each layer."""

    sites: tuple[Site, ...]
    num_layers: int
    left_out: tuple[str, ...] = ()  # biases in a layer that are no term: see `name_biases`

    @property
    def terms(self) -> tuple[str, ...]:
        """The terms in the order of `TERMS`, then those named by their path in the layer."""
        return tuple(site.term for site in self.sites if site.layer == 0)

    @property
    def fused(self) -> bool:
        """Whether q, k and v are rows of one projection in each layer."""
        return any(site.rows is not None for site in self.sites)

    def of(self, term: str) -> tuple[Site, ...]:
        """The sites of one term, by layer.

        Raises:
            UserError: The model has no such term.
        """
        if term not in self.terms:
            raise UserError(f"this model has no bias term '{term}': it has {', '.join(self.terms)}")
        return tuple(site for site in self.sites if site.term == term)


def find_sites(model: nn.Module, declared: Mapping[str, str] | None = None) -> BiasSites:
    """Find every bias inside the transformer layers of `model`.

    The layers are the longest list of equal modules that hold an attention block; q, k and v are
    three linears side by side in it. The other biases are named by their role: see `TERMS`.

    Args:
        model: a transformer with separate q, k and v projections.
        declared: `layers`, `q`, `k`, `v`: the path of the list of layers, and of the three
            projections relative to a layer, for an architecture that is not recognised.

    Raises:
        UserError: The structure is unknown, a declared path does not exist, the projections have no
            bias, or the layers do not all hold the same terms.
    """
    stack = declared_stack(model, declared) if declared is not None else find_stack(model)
    _check_projection_biases(model, stack)
    layers = [name_biases(layer, stack.projections) for layer in stack.layers]
    _check_same_terms(stack, layers)
    config = None if declared is not None else getattr(model, "config", None)
    _check_not_shared(model, stack, getattr(config, "num_hidden_layers", len(stack.layers)))
    terms = sorted(layers[0], key=lambda t: TERMS.index(t) if t in TERMS else len(TERMS))
    return BiasSites(
        sites=tuple(
            Site(term, index, name.rpartition(".")[0], name, stack.rows.get(term))
            for index, biases in enumerate(layers)
            for term in terms
            for name in [f"{stack.path}.{index}.{biases[term]}"]
        ),
        num_layers=len(layers),
        left_out=other_biases(stack.layers[0]),
    )


def add_projection_biases(
    model: nn.Module, declared: Mapping[str, str] | None = None
) -> tuple[str, ...]:
    """Give each q, k and v projection that has no bias one of zeros, frozen, in its weight's dtype.

    It stands on the projection itself, so it is added before rotary positions and before norms of
    queries and keys, and zeros leave the model's output as it was. Other modules get none.

    Args:
        model: A transformer, changed in place.
        declared: As in `find_sites`.

    Returns:
        Names of the new parameters, by layer.

    Raises:
        UserError: The structure is unknown, or a projection is no plain linear.
    """
    stack = declared_stack(model, declared) if declared is not None else find_stack(model)
    added = []
    for index, layer in enumerate(stack.layers):
        for path in dict.fromkeys(stack.projections.values()):
            linear, name = layer.get_submodule(path), f"{stack.path}.{index}.{path}"
            if getattr(linear, "bias", None) is not None:
                continue
            if not isinstance(linear, nn.Linear):
                raise UserError(
                    f"{type(model).__name__}: {name} has no bias, and a {type(linear).__name__} "
                    "takes none; use a model whose projections are plain linears"
                )
            weight = linear.weight
            linear.bias = nn.Parameter(weight.new_zeros(weight.shape[0]), requires_grad=False)
            added.append(f"{name}.bias")
    return tuple(added)


def read_biases(model: nn.Module, sites: BiasSites) -> dict[str, torch.Tensor]:
    """Copy the biases out: term -> float32 tensor (layers, width) on the CPU."""
    with torch.no_grad():
        return {
            term: torch.stack([_read(model, s).to("cpu", torch.float32) for s in sites.of(term)])
            for term in sites.terms
        }


def write_biases(model: nn.Module, sites: BiasSites, biases: Mapping[str, torch.Tensor]) -> None:
    """Write biases, as `read_biases` returns them, into `model`; all of them or, on an error, none.

    Raises:
        UserError: The terms or the shapes are not those of this model.
    """
    if set(biases) != set(sites.terms):
        raise UserError(
            f"snapshot of another model: it holds the bias terms {', '.join(sorted(biases))}, "
            f"this model has {', '.join(sorted(sites.terms))}; use a snapshot made with this model"
        )
    for term in sites.terms:
        here = (sites.num_layers, _read(model, sites.of(term)[0]).numel())
        there = tuple(biases[term].shape)
        if there != here:
            raise UserError(
                f"snapshot of another model: its term '{term}' has shape {there} (layers, width), "
                f"this model's has {here}; use a snapshot made with this model"
            )
    with torch.no_grad():
        for term in sites.terms:
            for site in sites.of(term):
                parameter = model.get_parameter(site.parameter)
                parameter[site.index] = biases[term][site.layer].to(parameter)


def _read(model: nn.Module, site: Site) -> torch.Tensor:
    return model.get_parameter(site.parameter).detach()[site.index]


def _check_projection_biases(model: nn.Module, stack: Stack) -> None:
    for index, layer in enumerate(stack.layers):
        without = [
            term
            for term in PROJECTIONS
            if getattr(layer.get_submodule(stack.projections[term]), "bias", None) is None
        ]
        if without:
            where = f"{stack.path}.{index}.{stack.projections[without[0]]}"
            raise UserError(
                f"{type(model).__name__} has no bias in its {', '.join(without)} projections "
                f"(see {where}): BEFT tunes the biases of q, k and v, use a model that has them"
            )


def _check_same_terms(stack: Stack, layers: list[dict[str, str]]) -> None:
    """Every term has to be in every layer, with one width, to be a matrix (layers, width)."""
    every = [term for biases in layers for term in biases]
    for term in dict.fromkeys(every):
        widths = [
            layer.get_parameter(biases[term]).numel() if term in biases else None
            for layer, biases in zip(stack.layers, layers, strict=True)
        ]
        for index, width in enumerate(widths):
            if width != widths[0]:
                raise UserError(
                    f"the layers of {stack.path} differ: the bias term '{term}' has width "
                    f"{widths[0] or 'none'} in layer 0 and {width or 'none'} in layer {index}; "
                    "models of equal layers are supported"
                )


def _check_not_shared(model: nn.Module, stack: Stack, stated: int) -> None:
    """A layer that is used several times has one bias for all of them: no (layers, width)."""
    distinct = len({id(layer.get_submodule(stack.projections["q"])) for layer in stack.layers})
    if distinct != stated:
        raise UserError(
            f"{type(model).__name__} computes {stated} layers but holds {distinct} at "
            f"{stack.path}: models that share the weights of their layers are not supported"
        )
