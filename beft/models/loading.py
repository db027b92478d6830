"""Loads the configuration, tokenizer and weights of a pretrained model from its directory."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from beft.errors import UserError, one_line
from beft.models.leftover import check_leftover
from beft.models.own_code import check_own_code
from beft.models.pretrained import Checkpoint, check_checkpoint
from beft.models.weights import Tensors, bounded, lazy
from beft.tasks.words import Plain

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loaded:
    """A model as it was loaded."""

    model: PreTrainedModel  # in evaluation mode
    tokenizer: PreTrainedTokenizerBase
    config: dict  # the content of config.json
    # the parameters that the checkpoint does not hold in the shape that the model needs -> their
    # shape there, None where they are absent
    missing: Mapping[str, tuple[int, ...] | None]


class _ToDebug(logging.Handler):
    """Passes messages of transformers to the logger of this module, at level debug."""

    def emit(self, record: logging.LogRecord) -> None:
        log.debug("transformers: %s", record.getMessage())


def model_label(path: Path, name: str) -> str:
    """What messages call the model in `path`."""
    return f"model '{name}' ({path})" if name else f"model {path}"


def load_checkpoint(
    mapping: Any,
    path: Path,
    label: str,
    check: Callable[[PreTrainedConfig, str], None],
    in_head: Callable[[PreTrainedModel, str], bool],
    *,
    dropout: float | None,
    dtype: torch.dtype,
    hollow: bool = False,
    **settings: object,
) -> Loaded:
    """The model and tokenizer in `path`, of which no code is run; the random state is kept.

    Only the files that `check_checkpoint` lists are read.

    Args:
        mapping: Configuration class -> model class, such as `MODEL_FOR_CAUSAL_LM_MAPPING`; these
            mappings have no public type.
        path: The checkpoint's directory.
        label: What messages call the model.
        check: Called with configuration and label; raises for a model of another kind.
        in_head: Whether a parameter of the model may differ from the checkpoint or be absent in it.
        dropout: Probability of every dropout in the model; None keeps that of the checkpoint.
        dtype: Of the weights.
        hollow: Whether to leave the weights on the device `meta`: shapes without values.
        **settings: Of the configuration, instead of the checkpoint's.

    Raises:
        UserError: The directory is not a usable checkpoint; the message says why.
    """
    checkpoint = check_checkpoint(path, label)
    with quiet_transformers():
        config = read_config(checkpoint, label, **settings)
        check(config, label)
        _set_dropout(config, dropout)
        tokenizer = _tokenizer(checkpoint, label)
        with lazy(checkpoint, hollow) as tensors:
            model, info = _weights(mapping[type(config)], tensors, label, config, dtype)
    missing = _missing(model, info, label, in_head)
    check_leftover(model, info["unexpected_keys"], checkpoint.tensors, label, in_head)
    tensors.check(label)
    _check_vocabulary(label, tokenizer, model)
    return Loaded(model.eval(), tokenizer, checkpoint.config, missing)


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


def read_config(checkpoint: Checkpoint, label: str, **settings: object) -> PreTrainedConfig:
    """The configuration of a checkpoint, with other settings where some are given.

    Raises:
        UserError: It describes no model of transformers, or one with other code of its own.
    """
    if check_own_code(checkpoint.config, label):
        log.info("%s: its own code is not run; transformers has the same classes", label)
    with checkpoint.view() as folder, _explained(f"{label}: config.json is not usable"):
        return AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, **settings
        )


def _set_dropout(config: PreTrainedConfig, dropout: float | None) -> None:
    """Sets every dropout. Layers are never left out: no seed of ours would draw which."""
    for key, value in config.to_dict().items():
        if not isinstance(value, int | float):
            continue
        if "layerdrop" in key:
            setattr(config, key, 0.0)
        elif "drop" in key and dropout is not None:
            setattr(config, key, float(dropout))


def load_tokenizer(path: Path, label: str) -> PreTrainedTokenizerBase:
    """The tokenizer in `path` alone.

    Raises:
        UserError: The directory is not a usable checkpoint.
    """
    with quiet_transformers():
        return _tokenizer(check_checkpoint(path, label), label)


def _tokenizer(checkpoint: Checkpoint, label: str) -> PreTrainedTokenizerBase:
    advice = "use a model whose tokenizer is a tokenizer.json or a sentencepiece model"
    what = f"{label}: its tokenizer is not usable"
    with checkpoint.view() as folder, _explained(what, advice):
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    # Where its files are missing, transformers makes up a tokenizer that knows no words.
    if not {"tokenizer.json", "tokenizer.model"} & set(checkpoint.tokenizer):
        files = [f for f in type(tokenizer).vocab_files_names.values() if f != "tokenizer.json"]
        absent = [f for f in files if f and not (checkpoint.folder / f).is_file()]
        if absent:
            raise UserError(
                f"{label}: its tokenizer, a {type(tokenizer).__name__}, is missing: it needs "
                f"{absent[0]} or tokenizer.json; fetch them from the model's repository"
            )
    return tokenizer


def _weights(
    kind: Any, tensors: Tensors, label: str, config: PreTrainedConfig, dtype: torch.dtype
) -> tuple[PreTrainedModel, Plain]:
    """The model, and what transformers tells of its loading."""
    supports_sdpa = getattr(kind, "_supports_sdpa", False)
    # What the checkpoint lacks is drawn here: leave the caller's random state alone.
    with (
        _explained(f"{label}: its weights do not load"),
        bounded(tensors, label),
        torch.random.fork_rng(devices=[]),
    ):
        # Without a folder, nothing but the given tensors can be read: no adapter, no other weights.
        model, info = kind.from_pretrained(
            None,
            config=config,
            state_dict=tensors.by_name,
            dtype=dtype,
            attn_implementation="sdpa" if supports_sdpa else "eager",
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    log.debug("%s: not in the checkpoint: %s", label, sorted(info["missing_keys"]))
    log.debug("%s: not used of the checkpoint: %s", label, sorted(info["unexpected_keys"]))
    return model, info


def _missing(
    model: PreTrainedModel,
    info: Plain,
    label: str,
    in_head: Callable[[PreTrainedModel, str], bool],
) -> dict[str, tuple[int, ...] | None]:
    """See `Loaded.missing`; raises unless all are `in_head`."""
    missing: dict[str, tuple[int, ...] | None] = dict.fromkeys(info["missing_keys"])
    for key, there, here in sorted(info["mismatched_keys"]):
        if not in_head(model, key):
            raise UserError(
                f"{label}: the weights do not fit config.json: {key} has shape {tuple(there)}, the "
                f"config asks for {tuple(here)}; fetch both from the same checkpoint"
            )
        missing[key] = tuple(there)
    # A head that is tied to the embeddings bears their name, and is not missed.
    lost = [n for n, _ in model.named_parameters() if n in missing and not in_head(model, n)]
    if lost:
        raise UserError(
            f"{label}: the checkpoint lacks {len(lost)} weights of the model, such as {lost[0]}; "
            "fetch it again or use another checkpoint"
        )
    return missing


def _check_vocabulary(
    label: str, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel
) -> None:
    """Checks that every token has an embedding."""
    count = model.get_input_embeddings().num_embeddings
    assert isinstance(count, int)
    largest = max(len(tokenizer), 1 + max(tokenizer.get_vocab().values(), default=0))
    if largest > count:
        raise UserError(
            f"{label}: its tokenizer has {largest} tokens, its weights embed only {count}; use the "
            "tokenizer that belongs to it"
        )


@contextmanager
def _explained(
    what: str, advice: str = "fetch it again, or use another checkpoint"
) -> Iterator[None]:
    """Turns whatever a library raises for a file that it cannot use into one line."""
    try:
        yield
    except (UserError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # compiled tokenizers also raise what is no Exception
        detail = one_line(error, 300)
        if not isinstance(error, OSError | ValueError | RuntimeError) or not detail:
            detail = f"{type(error).__name__}: {detail}".removesuffix(": ")
        raise UserError(f"{what}: {detail}; {advice}") from error
