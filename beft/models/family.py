"""Tells encoders from decoders by their configuration."""

from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
    PreTrainedConfig,
)


def is_causal(config: PreTrainedConfig) -> bool:
    """Whether the model is a causal language model, in which no token sees those after it.

    Families of encoders have a causal model too, which reads both ways unless the configuration
    says so.
    """
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        return False
    if getattr(config, "is_encoder_decoder", False):
        return False
    return type(config) not in MODEL_FOR_MASKED_LM_MAPPING or bool(
        getattr(config, "is_decoder", False)
    )
