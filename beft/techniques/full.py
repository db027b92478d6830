"""`full`: every parameter of the encoder."""

from beft.techniques.base import Part, Technique

TECHNIQUE = Technique(lambda shapes, sites, seed: tuple(Part(name) for name in shapes))
