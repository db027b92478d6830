"""The registry of techniques: what each one trains. One file each; a new one joins by one row."""

from beft.techniques import all_biases, bias_term, full, head_only, random_uniform, untuned
from beft.techniques.base import Part, Technique

TECHNIQUES: dict[str, Technique] = {
    **{f"b_{term}": bias_term.technique(term) for term in bias_term.TERMS},
    "all_biases": all_biases.TECHNIQUE,
    "full": full.TECHNIQUE,
    "head_only": head_only.TECHNIQUE,
    "random_uniform": random_uniform.TECHNIQUE,
    "untuned": untuned.TECHNIQUE,
}

__all__ = ["TECHNIQUES", "Part", "Technique"]
