"""What a technique is: a choice of the scalars of a pretrained model that are trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from beft.models.sites import BiasSites

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Part:
    """The trained share of one parameter.

    Attributes:
        parameter: its full name in the model.
        index: flat positions of the trained scalars, (n,) int64, ascending; None trains all.
    """

    parameter: str
    index: np.ndarray | None = None


@dataclass(frozen=True)
class Technique:
    """One row of the registry.

    Attributes:
        select: (shapes of the encoder's parameters, its bias sites, seed) -> trained parts. The
            head (see `beft.models.encoder`) is trained along by every technique and is not listed.
        trains: False where nothing is trained at all, head included.
        biases_only: whole biases and the head, nothing else, so that many runs can share a model.
        term: the single bias term it tunes, if it does; runs of an inert term may be left out.
        measures: it leaves the model as it is and records gradients of all biases.
        kinds: the kinds of models it is for.
        settings: names of the training settings that it alone reads.
        adapted: terms of projections that get new parameters through PEFT; none otherwise.
    """

    select: Callable[[Shapes, BiasSites, int], tuple[Part, ...]]
    trains: bool = True
    biases_only: bool = False
    term: str | None = None
    measures: bool = False
    kinds: tuple[str, ...] = ("encoder", "decoder")
    settings: tuple[str, ...] = ()
    adapted: tuple[str, ...] = ()

    @property
    def adds(self) -> bool:
        """Whether what it trains are new parameters, in or beside a frozen model."""
        return bool(self.adapted) or "prefix_tokens" in self.settings


def site_parts(sites: BiasSites, shapes: Shapes, terms: tuple[str, ...]) -> tuple[Part, ...]:
    """The parts that make up whole terms, one per site; a fused projection gives only its rows."""
    parts = []
    for term in terms:
        for site in sites.of(term):
            rows = None if site.rows is None else site.rows.index()
            whole = rows is not None and len(rows) == shapes[site.parameter][0]
            parts.append(Part(site.parameter, None if whole else rows))
    return tuple(parts)
