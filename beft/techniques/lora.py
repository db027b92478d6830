"""`lora` and its likes: low-rank matrices beside projections, through PEFT (version 2, table 6)."""

from beft.techniques.base import Technique


def technique(*terms: str) -> Technique:
    """LoRA on the projections of these terms in every layer."""
    return Technique(
        lambda shapes, sites, seed: (),
        settings=("lora_rank", "lora_alpha"),
        adapted=terms,
    )
