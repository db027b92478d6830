"""`head_only`: the encoder stays as it is; what every other technique must beat."""

from beft.techniques.base import Technique

TECHNIQUE = Technique(lambda shapes, sites, seed: (), biases_only=True, kinds=("encoder",))
