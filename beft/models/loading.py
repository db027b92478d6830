"""What loading encoders and loading decoders share: config, tokenizer, weights of a folder."""

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from beft.errors import UserError

log = logging.getLogger(__name__)

# What the libraries raise for files that they cannot use.
_UNUSABLE = (
    OSError,
    ValueError,
    RuntimeError,
    KeyError,
    TypeError,
    StrictDataclassError,
    SafetensorError,
)


class _ToDebug(logging.Handler):
    """Hands what transformers says to our own logger, as debugging detail."""

    def emit(self, record: logging.LogRecord) -> None:
        log.debug("transformers: %s", record.getMessage())


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Within it, what transformers logs goes to our logger at debug, and no progress bar shows."""
    logger = logging.getLogger("transformers")
    handlers, onward = logger.handlers, logger.propagate
    bar = transformers_logging.is_progress_bar_enabled()
    logger.handlers, logger.propagate = [_ToDebug()], False
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        logger.handlers, logger.propagate = handlers, onward
        if bar:
            transformers_logging.enable_progress_bar()


def model_label(path: Path, name: str) -> str:
    """What messages call the model in `path`."""
    return f"model '{name}' ({path})" if name else f"model {path}"


def load_config(path: Path, label: str, **settings: object) -> PreTrainedConfig:
    """The configuration in `path`, with these settings instead of its own."""
    try:
        return AutoConfig.from_pretrained(
            path, local_files_only=True, trust_remote_code=False, **settings
        )
    except _UNUSABLE as error:
        raise UserError(f"{label}: config.json is not usable: {_one_line(error)}") from error


def set_dropout(config: PreTrainedConfig, dropout: float | None) -> None:
    """Set the probability of every dropout of the model; None keeps the checkpoint's own.

    Layers are never left out (`layerdrop`): that would be drawn from no seed of ours.
    """
    for key, value in config.to_dict().items():
        if not isinstance(value, int | float):
            continue
        if "layerdrop" in key:
            setattr(config, key, 0.0)
        elif "drop" in key and dropout is not None:
            setattr(config, key, float(dropout))


def load_tokenizer(path: Path, label: str) -> PreTrainedTokenizerBase:
    """The tokenizer in `path`."""
    try:
        return AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the compiled tokenizers raise nothing more precise
        raise UserError(f"{label}: its tokenizer is not usable: {_one_line(error)}") from error


def load_weights(
    auto: Any, path: Path, label: str, config: PreTrainedConfig, dtype: torch.dtype
) -> tuple[PreTrainedModel, frozenset[str], Mapping[str, tuple[tuple, tuple]]]:
    """A model with the weights in `path`, of which no code is run; the random state is kept.

    Args:
        auto: Class of transformers that loads it, such as `AutoModelForSequenceClassification`;
            these classes have no public type.
        path: The checkpoint's directory.
        label: What messages call the model.
        config: Of the model.
        dtype: Of its weights.

    Returns:
        The model; the names of its parameters that the checkpoint does not hold; for each whose
        shape is another: name -> (shape in the checkpoint, shape in the model).
    """
    supports_sdpa = getattr(auto._model_mapping[type(config)], "_supports_sdpa", False)
    try:
        # What the checkpoint lacks is drawn here: leave the caller's random state alone.
        with torch.random.fork_rng(devices=[]):
            model, info = auto.from_pretrained(
                path,
                config=config,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                dtype=dtype,
                attn_implementation="sdpa" if supports_sdpa else "eager",
                output_loading_info=True,
                ignore_mismatched_sizes=True,
            )
    except _UNUSABLE as error:
        raise UserError(f"{label}: its weights do not load: {_one_line(error)}") from error
    log.debug("%s: not in the checkpoint: %s", label, sorted(info["missing_keys"]))
    log.debug("%s: not used of the checkpoint: %s", label, sorted(info["unexpected_keys"]))
    misfits = {key: (tuple(there), tuple(here)) for key, there, here in info["mismatched_keys"]}
    return model, frozenset(info["missing_keys"]), misfits


def misfit(label: str, key: str, there: tuple, here: tuple) -> UserError:
    """The error for a weight whose shape is not the config's."""
    return UserError(
        f"{label}: the weights do not fit config.json: {key} has shape {there}, the "
        f"config asks for {here}; fetch both from the same checkpoint"
    )


def lacking(label: str, what: str, names: list[str]) -> UserError:
    """The error for weights that the checkpoint should hold."""
    return UserError(
        f"{label}: the checkpoint lacks {len(names)} weights of the {what}, such as {names[0]}; "
        "fetch it again or use another checkpoint"
    )


def check_vocabulary(
    label: str, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel
) -> None:
    """Check that every token of the tokenizer has an embedding."""
    count = model.get_input_embeddings().num_embeddings
    assert isinstance(count, int)
    if len(tokenizer) > count:
        raise UserError(
            f"{label}: its tokenizer has {len(tokenizer)} tokens, its weights embed only "
            f"{count}; use the tokenizer that belongs to it"
        )


def _one_line(error: BaseException) -> str:
    return re.sub(r"\s+", " ", str(error)).strip() or type(error).__name__
