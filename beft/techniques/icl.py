"""`icl`: in-context learning, solved examples before the prompt instead of training."""

from beft.techniques.base import Technique

TECHNIQUE = Technique(
    lambda shapes, sites, seed: (),
    trains=False,
    kinds=("decoder",),
    settings=("demonstrations",),
)
