"""Check what config.json and tokenizer_config.json say, before a library acts on it."""

import math
import re
from collections.abc import Iterator

from beft.errors import UserError, one_line

CONFIG = "config.json"
# Keys by which a checkpoint asks for more than its weights, and what to do instead.
_BESIDE = {
    "quantization_config": "quantised weights are not supported: use the checkpoint in float32, "
    "float16 or bfloat16",
    "compression_config": "compressed weights are not supported: use the checkpoint in float32, "
    "float16 or bfloat16",
    "transformers_weights": "weights of another name are not read: delete the key and name the "
    "weights model.safetensors",
    "configuration_files": "other configurations are not read: delete the key",
    "fusion_config": "layers are not fused: delete the key",
}
_TOKENIZER_BESIDE = {
    "auto_map": "the tokenizer comes with code of its own, which is never run: use a model whose "
    "tokenizer is part of transformers",
    "fast_tokenizer_files": "tokenizers of other versions are not read: delete the key",
}
# How many layers there are, in the configurations of all architectures. GPT-Neo's `attention_types`
# holds such numbers in lists.
_LAYERS = re.compile(
    r"(n|num)(_hidden|_encoder|_decoder)?_layers?|(en|de)coder_layers|attention_types"
)
# Sizes of which a model needs at least one.
_SIZES = re.compile(
    r"(hidden|vocab|intermediate|embedding|head)_(size|dim)|(n|num)_(attention_|key_value_|kv_)?heads?"
    r"|n_embd|d_model|dim|ffn_dim|hidden_dim|num_hidden_layers|n_layers?|num_layers"
)
# How many positions a text may have; models build tables of that length. Llama 4 has 10 million.
_POSITIONS = re.compile(
    r"max_(position_embeddings|seq(uence)?_len(gth)?|relative_positions)|n_positions|n_ctx"
    r"|seq_length|position_buckets"
)
_MOST_POSITIONS, _MOST_LABELS = 2**26, 10**5
_NAMES = ("id2label", "label2id", "task_specific_params")  # keys of mappings whose keys are free


def check_config(config: dict, tensors: int, label: str) -> None:
    """Check that the content of config.json is sane, and asks for nothing beside the weights.

    Args:
        tensors: How many tensors the weights have: a layer has at least one.

    Raises:
        UserError: A key has no usable value, or asks for something that is not supported.
    """
    kind = config.get("model_type")
    if not isinstance(kind, str) or not kind:
        raise UserError(f"{label}: {CONFIG} has no 'model_type'; fetch it again")
    _check_beside(config, _BESIDE, CONFIG, label)
    for key, value in _numbers(config):
        wrong = _flaw(key, value, tensors)
        if wrong:
            raise UserError(f"{label}: {CONFIG}: '{one_line(key, 100)}' {wrong}; fetch it again")


def check_tokenizer_config(config: dict, label: str) -> None:
    """Check that the content of tokenizer_config.json asks for no code and no other file.

    Raises:
        UserError: It does.
    """
    _check_beside(config, _TOKENIZER_BESIDE, "tokenizer_config.json", label)


def _check_beside(config: dict, beside: dict[str, str], file: str, label: str) -> None:
    for key, advice in beside.items():
        if config.get(key):
            raise UserError(f"{label}: {file} has '{key}': {advice}")


def _flaw(key: str, value: int | float, tensors: int) -> str | None:
    """What is wrong with a number of config.json; None if nothing is known to be."""
    if isinstance(value, float) and not math.isfinite(value):
        return "is no finite number"
    if isinstance(value, int) and abs(value) >= 2**63:
        return "is a number of more than 64 bits"
    if _LAYERS.fullmatch(key) and value > tensors:
        return f"is {value}, but the weights have only {tensors} tensors"
    if _SIZES.fullmatch(key) and not (isinstance(value, int) and value >= 1):
        return f"must be a whole number of 1 or more, not {value}"
    if _POSITIONS.fullmatch(key) and value > _MOST_POSITIONS:
        return f"must be at most {_MOST_POSITIONS}, not {value}"
    if key.endswith("num_labels") and not 0 <= value <= _MOST_LABELS:
        return f"must be from 0 to {_MOST_LABELS}, not {value}"
    if "drop" in key and not 0 <= value < 1:
        return f"must be a probability, from 0 to less than 1, not {value}"
    if re.search(r"eps(ilon)?$|^init(ializer)?_(range|std)$", key) and value < 0:
        return f"must not be negative, but is {value}"
    return None


def _numbers(config: dict) -> Iterator[tuple[str, int | float]]:
    """Every number of a configuration, with the key that it belongs to."""
    waiting: list[tuple[str, object]] = [("", config)]
    while waiting:
        key, value = waiting.pop()
        if isinstance(value, dict) and set(value) == {"__float__"}:  # as transformers writes them
            yield key, float("nan")
        elif isinstance(value, dict) and key not in _NAMES:
            waiting += [(str(k), v) for k, v in value.items()]
        elif isinstance(value, list):
            waiting += [(key, v) for v in value]
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield key, value
