"""`untuned`: nothing is trained; gradients at the pretrained weights give Fisher and inertness."""

from beft.techniques.base import Technique

TECHNIQUE = Technique(lambda shapes, sites, seed: (), trains=False, measures=True)
