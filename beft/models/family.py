"""Tells encoders, decoders and models of both by their configuration."""

from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
    PreTrainedConfig,
)

from beft.errors import UserError


def is_causal(config: PreTrainedConfig) -> bool:
    """Whether the model is a causal language model, in which no token sees those after it.

    Families of encoders have a causal model too, which reads both ways unless the configuration
    says so.
    """
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        return False
    if _has_both(config):
        return False
    return type(config) not in MODEL_FOR_MASKED_LM_MAPPING or bool(
        getattr(config, "is_decoder", False)
    )


def check_one_part(config: PreTrainedConfig, label: str, instead: str) -> None:
    """Checks that a model is an encoder or a decoder, not one of each, such as T5 or BART.

    Args:
        label: What messages call the model.
        instead: What to use.

    Raises:
        UserError: It has both parts.
    """
    if _has_both(config):
        raise UserError(
            f"{label}: '{config.model_type}' is an encoder-decoder, and encoder-decoders are not "
            f"supported; {instead}"
        )


def _has_both(config: PreTrainedConfig) -> bool:
    """Whether a model is both. Of families of such models there are decoders alone too."""
    family = getattr(type(config), "is_encoder_decoder", False)
    alone = type(config) in MODEL_FOR_CAUSAL_LM_MAPPING and getattr(config, "is_decoder", False)
    return bool(getattr(config, "is_encoder_decoder", False)) or (bool(family) and not alone)
