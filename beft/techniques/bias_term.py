"""`b_v`, `b_q`, `b_k` and their likes: one bias term of every layer (section 2 of the paper)."""

from beft.errors import UserError
from beft.techniques.base import Technique, site_parts

TERMS = (
    "q",
    "k",
    "v",
    "attention_output",
    "attention_norm",
    "intermediate",
    "output",
    "output_norm",
)


def technique(term: str) -> Technique:
    """The technique that trains the biases of one term in all layers."""

    def select(shapes, sites, seed):
        if term not in sites.terms:
            raise UserError(
                f"b_{term}: the model has no such bias; it has {', '.join(sites.terms)}"
            )
        return site_parts(sites, shapes, (term,))

    return Technique(select, biases_only=True, term=term)
