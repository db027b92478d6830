"""`random_uniform`: as many scalars as b_v, drawn uniformly over the encoder (Table 2)."""

import math

import numpy as np

from beft.techniques.base import Part, Technique


def _select(shapes, sites, seed):
    """Draws scalars without replacement, each of the encoder's equally likely, by the seed."""
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


TECHNIQUE = Technique(_select)
