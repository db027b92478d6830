"""The registry of techniques: what each one trains."""

from beft.models.terms import PROJECTIONS, TERMS
from beft.techniques.base import (
    FITTED,
    Part,
    Technique,
    select_all,
    select_all_biases,
    select_none,
)
from beft.techniques.bias_term import select_term
from beft.techniques.random_uniform import select_random

_LORA = ("lora_rank", "lora_alpha")

TECHNIQUES: dict[str, Technique] = {
    # one bias term of every layer (section 2 of the paper)
    **{f"b_{t}": Technique(select_term(t), biases_only=True, term=t) for t in TERMS},
    # every bias of every layer; its snapshots feed projection and magnitude
    "all_biases": Technique(select_all_biases, biases_only=True),
    # every parameter
    "full": Technique(select_all),
    # nothing but the head: the baseline of every other technique of an encoder
    "head_only": Technique(select_none, biases_only=True, kinds=("encoder",)),
    # in-context learning: solved examples in the prompt, no training
    "icl": Technique(
        select_none,
        trains=False,
        kinds=("decoder",),
        settings=("demonstrations",),
        fixed={"packing": "as_many_as_fit"},  # recipes without it: the longest run at the end
    ),
    # nothing but a head that is fitted to mean-pooled embeddings: logistic regression, or ridge
    "linear_probe": Technique(
        select_none, trains=False, biases_only=True, kinds=("encoder",), fixed=FITTED
    ),
    # low-rank matrices beside projections, through PEFT
    "lora": Technique(select_none, settings=_LORA, adapted=("q", "v")),
    # the same on one projection (version 2 of the paper, table 6)
    **{f"lora_{t}": Technique(select_none, settings=_LORA, adapted=(t,)) for t in PROJECTIONS},
    # trained keys and values before those of every prompt, through PEFT
    "prefix": Technique(select_none, kinds=("decoder",), settings=("prefix_tokens",)),
    # as many scalars as b_v has, anywhere in the model (Table 2)
    "random_uniform": Technique(select_random),
    # nothing; gradients at the pretrained weights give Fisher information and inert terms
    "untuned": Technique(select_none, trains=False, measures=True),
    # nothing; a decoder answers the prompt
    "zero_shot": Technique(select_none, trains=False, kinds=("decoder",)),
}

__all__ = ["TECHNIQUES", "Part", "Technique"]
