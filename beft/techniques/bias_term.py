"""Techniques `b_q`, `b_k`, `b_v`, ...: one bias term of every layer (section 2 of the paper)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from beft.errors import UserError
from beft.techniques.base import Part, Select, Shapes, site_parts

if TYPE_CHECKING:
    from beft.models.sites import BiasSites


def select_term(term: str) -> Select:
    """Selects the biases of one term in all layers.

    The selection raises UserError for a model that has no such bias.
    """

    def select(shapes: Shapes, sites: BiasSites, seed: int) -> tuple[Part, ...]:
        if term not in sites.terms:
            raise UserError(
                f"b_{term}: the model has no such bias; it has {', '.join(sites.terms)}"
            )
        return site_parts(sites, shapes, (term,))

    return select
