"""Technique `random_uniform`: as many scalars as `b_v`, anywhere in the model (Table 2)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from beft.techniques.base import Part, Shapes

if TYPE_CHECKING:
    from beft.models.sites import BiasSites


def select_random(shapes: Shapes, sites: BiasSites, seed: int) -> tuple[Part, ...]:
    """Draws scalars without replacement. Each scalar of the model is equally likely."""
    count = sum(
        math.prod(shapes[s.parameter]) if s.rows is None else len(s.rows.index())
        for s in sites.of("v")
    )
    names = sorted(shapes)
    ends = np.cumsum([math.prod(shapes[name]) for name in names])
    rng = np.random.Generator(np.random.Philox(key=seed))
    chosen = np.sort(rng.choice(int(ends[-1]), size=count, replace=False, shuffle=False))
    owner = np.searchsorted(ends, chosen, side="right")
    parts = []
    for i in np.unique(owner):
        start = ends[i] - math.prod(shapes[names[i]])
        parts.append(Part(names[i], (chosen[owner == i] - start).astype(np.int64)))
    return tuple(parts)
