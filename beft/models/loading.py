"""Loads the configuration, tokenizer and weights of a pretrained model from its directory."""

import logging
import re
from collections.abc import Callable, Iterator, Mapping
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
from beft.models.pretrained import check_checkpoint
from beft.tasks.words import Plain

log = logging.getLogger(__name__)

# Errors that the libraries raise for files that they cannot use.
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
    """Passes messages of transformers to the logger of this module, at level debug."""

    def emit(self, record: logging.LogRecord) -> None:
        log.debug("transformers: %s", record.getMessage())


def model_label(path: Path, name: str) -> str:
    """What messages call the model in `path`."""
    return f"model '{name}' ({path})" if name else f"model {path}"


def load_checkpoint(
    auto: Any,
    path: Path,
    label: str,
    check: Callable[[PreTrainedConfig, str], None],
    in_head: Callable[[PreTrainedModel, str], bool],
    *,
    dropout: float | None,
    dtype: torch.dtype,
    **settings: object,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, frozenset[str]]:
    """The model and tokenizer in `path`, of which no code is run; the random state is kept.

    Args:
        auto: Class of transformers that loads it, such as `AutoModelForSequenceClassification`;
            these classes have no public type.
        path: The checkpoint's directory.
        label: What messages call the model.
        check: Called with configuration and label; raises for a model of another kind.
        in_head: Whether a parameter of the model may differ from the checkpoint or be absent in it.
        dropout: Probability of every dropout in the model; None keeps that of the checkpoint.
        dtype: Of the weights.
        **settings: Of the configuration, instead of the checkpoint's.

    Returns:
        The model, in evaluation mode; its tokenizer; names of the parameters that the checkpoint
        does not hold in the shape that the model needs, all of them `in_head`.

    Raises:
        UserError: The directory is not a usable checkpoint; the message says why.
    """
    check_checkpoint(path, label)
    with quiet_transformers():
        config = _config(path, label, settings)
        check(config, label)
        _set_dropout(config, dropout)
        tokenizer = _tokenizer(path, label)
        model, info = _weights(auto, path, label, config, dtype)
    missing = set(info["missing_keys"])
    for key, there, here in sorted(info["mismatched_keys"]):
        if not in_head(model, key):
            raise UserError(
                f"{label}: the weights do not fit config.json: {key} has shape {tuple(there)}, the "
                f"config asks for {tuple(here)}; fetch both from the same checkpoint"
            )
        missing.add(key)
    # A head that is tied to the embeddings bears their name, and is not missed.
    lost = [n for n, _ in model.named_parameters() if n in missing and not in_head(model, n)]
    if lost:
        raise UserError(
            f"{label}: the checkpoint lacks {len(lost)} weights of the model, such as {lost[0]}; "
            "fetch it again or use another checkpoint"
        )
    _check_vocabulary(label, tokenizer, model)
    return model.eval(), tokenizer, frozenset(missing)


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """A context in which transformers logs at level debug only, and shows no progress bar."""
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


def _config(path: Path, label: str, settings: Mapping[str, object]) -> PreTrainedConfig:
    try:
        return AutoConfig.from_pretrained(
            path, local_files_only=True, trust_remote_code=False, **settings
        )
    except _UNUSABLE as error:
        raise UserError(f"{label}: config.json is not usable: {_one_line(error)}") from error


def _set_dropout(config: PreTrainedConfig, dropout: float | None) -> None:
    """Sets every dropout. Layers are never left out: no seed of ours would draw which."""
    for key, value in config.to_dict().items():
        if not isinstance(value, int | float):
            continue
        if "layerdrop" in key:
            setattr(config, key, 0.0)
        elif "drop" in key and dropout is not None:
            setattr(config, key, float(dropout))


def _tokenizer(path: Path, label: str) -> PreTrainedTokenizerBase:
    try:
        return AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the compiled tokenizers raise nothing more precise
        raise UserError(f"{label}: its tokenizer is not usable: {_one_line(error)}") from error


def _weights(
    auto: Any, path: Path, label: str, config: PreTrainedConfig, dtype: torch.dtype
) -> tuple[PreTrainedModel, Plain]:
    """The model, and what transformers tells of its loading."""
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
    return model, info


def _check_vocabulary(
    label: str, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel
) -> None:
    """Checks that every token has an embedding."""
    count = model.get_input_embeddings().num_embeddings
    assert isinstance(count, int)
    if len(tokenizer) > count:
        raise UserError(
            f"{label}: its tokenizer has {len(tokenizer)} tokens, its weights embed only "
            f"{count}; use the tokenizer that belongs to it"
        )


def _one_line(error: BaseException) -> str:
    return re.sub(r"\s+", " ", str(error)).strip() or type(error).__name__
