"""The registry of techniques: what each one trains. One file each; a new one joins by one row."""

from beft.techniques import (
    all_biases,
    bias_term,
    full,
    head_only,
    icl,
    lora,
    prefix,
    random_uniform,
    untuned,
    zero_shot,
)
from beft.techniques.base import Part, Technique

TECHNIQUES: dict[str, Technique] = {
    **{f"b_{term}": bias_term.technique(term) for term in bias_term.TERMS},
    "all_biases": all_biases.TECHNIQUE,
    "full": full.TECHNIQUE,
    "head_only": head_only.TECHNIQUE,
    "icl": icl.TECHNIQUE,
    "lora": lora.technique("q", "v"),
    **{f"lora_{term}": lora.technique(term) for term in ("q", "k", "v")},
    "prefix": prefix.TECHNIQUE,
    "random_uniform": random_uniform.TECHNIQUE,
    "untuned": untuned.TECHNIQUE,
    "zero_shot": zero_shot.TECHNIQUE,
}

__all__ = ["TECHNIQUES", "Part", "Technique"]
