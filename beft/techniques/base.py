"""A technique: which scalars of a pretrained model are trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from beft.models.sites import BiasSites

Shapes = Mapping[str, tuple[int, ...]]

# What recipes record whose head is fitted to embeddings, not trained.
FITTED = {"head": "fitted", "pooling": "mean"}


@dataclass(frozen=True)
class Part:
    """The trained scalars of one parameter.

    Attributes:
        parameter: full name of the parameter in the model.
        index: flat positions of the trained scalars, (n,) int64, ascending; None means all.
    """

    parameter: str
    index: np.ndarray | None = None


# (shapes of the model's parameters without the head, its bias sites, seed) -> what is trained.
# Every technique that trains also trains the head (`beft.models.encoder`), which is not listed.
Select = Callable[[Shapes, "BiasSites", int], tuple[Part, ...]]


@dataclass(frozen=True)
class Technique:
    """One row of the registry.

    Attributes:
        select: which scalars are trained, see `Select`.
        trains: False if nothing is trained, not even the head.
        biases_only: it trains whole biases and the head only, so that many runs share one model.
        term: the single bias term that it trains; runs of an inert term may be skipped.
        measures: it records the gradients of all biases at the pretrained weights.
        kinds: the kinds of models that it supports.
        settings: names of the training settings that only this technique reads.
        fixed: what its recipes record besides settings: a choice of the method itself, so that runs
            of another choice are other runs.
        adapted: terms whose projections get new parameters through PEFT.
    """

    select: Select
    trains: bool = True
    biases_only: bool = False
    term: str | None = None
    measures: bool = False
    kinds: tuple[str, ...] = ("encoder", "decoder")
    settings: tuple[str, ...] = ()
    fixed: Mapping[str, str] = field(default_factory=dict)
    adapted: tuple[str, ...] = ()

    @property
    def adds(self) -> bool:
        """Whether it trains new parameters, in or before a frozen model."""
        return bool(self.adapted) or "prefix_tokens" in self.settings


def select_none(shapes: Shapes, sites: BiasSites, seed: int) -> tuple[Part, ...]:
    """No parameter of the model."""
    return ()


def select_all(shapes: Shapes, sites: BiasSites, seed: int) -> tuple[Part, ...]:
    """Every parameter of the model."""
    return tuple(Part(name) for name in shapes)


def select_all_biases(shapes: Shapes, sites: BiasSites, seed: int) -> tuple[Part, ...]:
    """Every bias of every layer."""
    return site_parts(sites, shapes, sites.terms)


def site_parts(sites: BiasSites, shapes: Shapes, terms: tuple[str, ...]) -> tuple[Part, ...]:
    """The biases of some terms in every layer; of a fused projection, only the terms' rows."""
    parts = []
    for term in terms:
        for site in sites.of(term):
            rows = None if site.rows is None else site.rows.index()
            whole = rows is not None and len(rows) == shapes[site.parameter][0]
            parts.append(Part(site.parameter, None if whole else rows))
    return tuple(parts)
