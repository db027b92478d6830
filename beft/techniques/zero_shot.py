"""`zero_shot`: a decoder answers the prompt as it is."""

from beft.techniques.base import Technique

TECHNIQUE = Technique(lambda shapes, sites, seed: (), trains=False, kinds=("decoder",))
