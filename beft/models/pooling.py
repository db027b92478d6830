"""Make a classification model of transformers read the mean of its last hidden states.

Without this, the head reads what its architecture has it read: the first token's state in models
like BERT, mostly through a pooler, and the last token's in models that were made to write.
"""

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from beft.errors import UserError

# Where architectures keep the dropout before their classifier; the first one that is set counts.
DROPOUTS = (
    *("classifier_dropout", "cls_dropout", "seq_classif_dropout", "summary_last_dropout"),
    *("hidden_dropout_prob", "hidden_dropout", "dropout"),
)


def pool_mean(model: PreTrainedModel) -> frozenset[str]:
    """Replaces the head, and the base's pooler, by a linear layer on the mean hidden state.

    The mean is over the real tokens, special tokens included. The layer is `classifier`, (labels,
    hidden) with a bias, whose values are arbitrary; the architecture's dropout precedes it.

    Returns:
        The names of the layer's parameters.

    Raises:
        UserError: the head cannot be told from the rest of the model.
    """
    base, config = model.base_model, model.config
    if base is model:
        raise UserError(
            f"the architecture '{config.model_type}' has no base model apart from its head, so its "
            "head cannot be replaced; set pooling: first"
        )
    for name, module in list(model.named_children()):
        if module is not base:
            delattr(model, name)
    if isinstance(getattr(base, "pooler", None), nn.Module):
        base.pooler = nn.Identity()
    weight = next(base.parameters())
    model.dropout = nn.Dropout(_dropout(config))
    labels = int(config.num_labels or 0)
    model.classifier = nn.Linear(
        config.hidden_size, labels, device=weight.device, dtype=weight.dtype
    )
    kind = type(model)
    model.__class__ = type(f"MeanPooled{kind.__name__}", (_MeanPooled, kind), {})
    model.train(model.training)
    return frozenset(name for name, _ in model.named_parameters() if name.startswith("classifier."))


class _MeanPooled(nn.Module):
    """The forward pass of such a model, in place of its architecture's."""

    def forward(
        self: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        **inputs: object,
    ) -> SequenceClassifierOutput:
        """Logits (B, labels).

        Args:
            input_ids: (B, T).
            attention_mask: (B, T), 0 where a token is padding; None where none is.
            inputs: others of the base model.
        """
        given = {} if attention_mask is None else {"attention_mask": attention_mask}
        hidden = self.base_model(input_ids, **given, **inputs).last_hidden_state
        if attention_mask is not None and attention_mask.shape != hidden.shape[:2]:
            raise UserError(
                f"the architecture '{self.config.model_type}' gives {hidden.shape[1]} hidden "
                f"states for {attention_mask.shape[1]} tokens, so there is no mean of them; set "
                "pooling: first"
            )
        mean = mean_states(hidden, attention_mask)
        return SequenceClassifierOutput(logits=self.classifier(self.dropout(mean)))


def mean_states(hidden: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """The mean of the hidden states of real tokens, (B, H) float32.

    Args:
        hidden: (B, T, H).
        mask: (B, T), 0 where a token is padding; None where none is.
    """
    if mask is None:
        return hidden.float().mean(1)
    real = mask.bool()[:, :, None]
    return hidden.float().masked_fill(~real, 0.0).sum(1) / real.sum(1)


def _dropout(config: PreTrainedConfig) -> float:
    found = (getattr(config, name, None) for name in DROPOUTS)
    return next((float(p) for p in found if isinstance(p, int | float)), 0.0)
