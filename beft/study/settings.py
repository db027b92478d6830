"""Training settings: the type and the help of each, written once."""

from typing import Annotated, Literal

from pydantic import Field

from beft.study.fields import (
    Count,
    Fraction,
    NotNegative,
    Positive,
    Precision,
    Size,
    Strict,
    restated,
)

Objective = Literal[
    "cross_entropy_over_candidates", "language_model_on_answer", "contrastive_pairs"
]
Scoring = Literal["normalised", "plain", "calibrated"]
Pooling = Literal["first", "mean"]
Evaluations = Literal["each_epoch", "last"]
ClassWeights = Literal["none", "balanced"]


class Overrides(Strict):
    """Training settings. A key that is absent keeps the value that is set elsewhere."""

    learning_rate: Positive | None = None
    """Learning rate of AdamW, constant over the run."""
    epochs: Count | None = None
    """Passes over the training subset."""
    batch_size: Count | None = None
    """Examples per optimiser step."""
    max_length: Count | None = None
    """Longest input in tokens. Longer inputs are truncated."""
    weight_decay: NotNegative | None = None
    """Weight decay of AdamW."""
    max_grad_norm: Positive | None = None
    """Gradients are clipped to this global norm."""
    dropout: Fraction | None = None
    """Probability of every dropout in the model. Default: the checkpoint's own."""
    precision: Precision | None = None
    """bfloat16 runs the model under autocast; trained parameters stay float32. auto uses bfloat16
    where the hardware is faster with it; provenance.json records the choice."""
    objective: Objective | None = None
    """Loss. Of a decoder: cross-entropy over the scores of the candidate answers, or the
    language-model loss on the right answer. Of an encoder: contrastive_pairs compares the
    mean-pooled embeddings of all pairs of a batch and fits the head to them, see
    docs/objectives.md. Default of an encoder: cross-entropy, or the squared error of values."""
    scoring: Scoring | None = None
    """How a decoder scores a candidate answer. plain: its log-likelihood; normalised: divided by
    its number of tokens; calibrated: minus the log-likelihood of the same answer without the
    prompt."""
    evaluated: Size | None = None
    """Examples of each validation split that a decoder is evaluated on. Every run uses the same
    ones."""
    max_new_tokens: Count | None = None
    """Longest generated answer of a decoder, in tokens. An answer ends earlier at a newline."""
    demonstrations: Count | None = None
    """Technique icl: solved examples before each prompt, or as many of them as fit."""
    lora_rank: Count | None = None
    """Techniques lora and lora_*: rank of the two added matrices."""
    lora_alpha: Count | None = None
    """Techniques lora and lora_*: the product of the added matrices is scaled by lora_alpha /
    lora_rank."""
    prefix_tokens: Count | None = None
    """Technique prefix: length of the trained prefix in tokens."""
    held_out: Fraction | None = None
    """Fraction of the training subset that is not trained on but chooses the best epoch, so that
    validation only reports. Default, and 0: validation does both."""
    pooling: Pooling | None = None
    """What the head of an encoder reads. first, the default: what its architecture provides for,
    mostly the first token, through a pooler. mean: the mean of the last hidden states of all tokens
    of an example, special tokens included; the head is then one new linear layer."""
    evaluations: Evaluations | None = None
    """When a run is evaluated. each_epoch, the default: after every epoch, one of which is best.
    last: once, after the last epoch, which then counts as the best one."""
    class_weights: ClassWeights | None = None
    """How much the loss of an example counts, for encoders and tasks of classes. none, the
    default: all count alike. balanced: n / (classes * examples of its class), counted among the n
    examples that the run trains on and the classes that they have."""


class Defaults(Overrides):
    """`training:` in params.yaml: the settings of every run that nothing more specific sets."""

    batch_size: Count = restated(Overrides, "batch_size")
    max_length: Count = restated(Overrides, "max_length")
    weight_decay: NotNegative = restated(Overrides, "weight_decay")
    max_grad_norm: Positive = restated(Overrides, "max_grad_norm")
    precision: Precision = restated(Overrides, "precision")


class Decoding(Overrides):
    """`decoder:` in params.yaml: the same for decoders only, on top of `training:`."""

    scoring: Scoring = restated(Overrides, "scoring", "normalised")
    evaluated: Size = restated(Overrides, "evaluated", "all")
    max_new_tokens: Count = restated(Overrides, "max_new_tokens", 50)


class Training(Defaults):
    """All settings of one run. Its recipe holds those of them that the run reads.

    The rate and the epochs of a run that trains nothing are 0.
    """

    learning_rate: NotNegative = restated(Overrides, "learning_rate")
    epochs: Annotated[int, Field(ge=0, lt=2**31, strict=True)] = restated(Overrides, "epochs")
