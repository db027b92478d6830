"""`prefix`: keys and values of tokens that are not there, before every prompt, through PEFT."""

from beft.techniques.base import Technique

TECHNIQUE = Technique(
    lambda shapes, sites, seed: (),
    kinds=("decoder",),
    settings=("prefix_tokens",),
)
