"""Load a pretrained encoder from a local directory: its weights, tokenizer, bias sites and head."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import (
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from beft.errors import UserError
from beft.models.base import Model
from beft.models.family import check_one_part
from beft.models.heads import Inherited, inherit, parameters
from beft.models.loading import Loaded, load_checkpoint, model_label
from beft.models.pooling import pool_mean
from beft.models.sites import add_projection_biases, find_sites

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Encoder(Model):
    """A pretrained encoder, float32, with a sequence classification head.

    `head` is the classifier, and the pooler's bias where the checkpoint holds the pooler, else the
    whole pooler. Where the head reads the mean, it is one linear layer, which no checkpoint holds.
    """

    pooling: str = "first"  # what the head reads: see `load_encoder`
    # the classification layer that came with the checkpoint; None if none did, or it was not judged
    inherited: Inherited | None = None

    @property
    def labels(self) -> int:
        """The number of outputs of the head: classes, or 1 for a regression."""
        return int(self.model.config.num_labels or 0)


def load_encoder(
    path: Path,
    num_labels: int,
    *,
    sites: Mapping[str, str] | None = None,
    classes: Sequence[str] | None = None,
    device: str = "cpu",
    dropout: float | None = None,
    name: str = "",
    label: str = "",
    hollow: bool = False,
    pooling: str = "first",
) -> Encoder:
    """Load the checkpoint in the directory `path`; nothing is fetched and no code of it is run.

    The head that the checkpoint lacks is set by `init_head` with seed 0; the global random state
    is neither used nor changed. Projections q, k and v without a bias get one of zeros, which
    leaves the logits as they are.

    Args:
        path: Directory with config.json, safetensors weights and the tokenizer's files.
        num_labels: Number of classes; 1 is a regression.
        sites: `layers`, `q`, `k`, `v` for an architecture that is not recognised; see `find_sites`.
        classes: Names of the task's classes, none for a regression: a classification layer of the
            checkpoint is kept if it is for the same (`heads.inherit`). None: if its size fits.
        device: The device that the model is moved to.
        dropout: Probability of every dropout in the model; None keeps that of the checkpoint.
        name: The model's alias, for messages.
        label: What messages call the model, instead of its name and directory.
        hollow: Whether to leave the weights on the device `meta`, once they are checked.
        pooling: `first` keeps the architecture's head; `mean` is one on the mean of hidden states.

    Raises:
        UserError: The directory is not a usable checkpoint of an encoder; the message says why.
    """
    label = label or model_label(path, name)
    if num_labels < 1:
        raise UserError(f"{label}: num_labels must be 1 (regression) or more, not {num_labels}")
    loaded = _loaded(path, label, num_labels, dropout, hollow)
    model, tokenizer = loaded.model, loaded.tokenizer
    try:
        added = add_projection_biases(model, sites)
        found = find_sites(model, sites)
        inherited = None if classes is None else inherit(loaded, classes, pooling)
        missing = frozenset(loaded.missing) if pooling == "first" else pool_mean(model)
    except UserError as error:
        raise error.within(label) from error
    if inherited is not None:
        log.info("%s: %s", label, inherited.line(classes or ()))
        if inherited.fate == "dropped":
            missing |= frozenset(parameters(model, inherited.layer))
    head = _head(model, missing)
    if not hollow:
        model.to(device)  # type: ignore[arg-type]  # its wrapper hides `self` from mypy
    fresh = tuple(n for n in head if n in missing)
    encoder = Encoder(model, tokenizer, found, head, fresh, added, pooling, inherited)
    init_head(encoder, seed=0)
    return encoder


def _loaded(path: Path, label: str, num_labels: int, dropout: float | None, hollow: bool) -> Loaded:
    """The model and tokenizer of a checkpoint, with whatever head it has."""
    loaded = load_checkpoint(
        MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
        path,
        label,
        _check_encoder,
        _is_head,
        dropout=dropout,
        dtype=torch.float32,
        hollow=hollow,
        num_labels=num_labels,
        # A checkpoint may state the problem of the task it was tuned on before.
        problem_type="regression" if num_labels == 1 else "single_label_classification",
    )
    _check_padding(loaded.tokenizer, path, label)
    # By which the heads of causal models find the last token of a text.
    loaded.model.config.get_text_config().pad_token_id = loaded.tokenizer.pad_token_id
    return loaded


def init_head(pretrained: Model, seed: int) -> None:
    """Set the head's parameters that the checkpoint lacks: a function of the seed alone.

    A decoder has no head and stays as it is.

    Matrices are normal with the model's initial deviation, biases 0, norms 1. The draw is made on
    the CPU in float64, which torch computes alike on every processor.
    """
    config = pretrained.model.config
    std = getattr(config, "initializer_range", None) or getattr(config, "init_std", None) or 0.02
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name in pretrained.fresh:
            parameter = pretrained.model.get_parameter(name)
            if parameter.ndim > 1:
                draw = torch.empty(parameter.shape, dtype=torch.float64)
                parameter.copy_(draw.normal_(0.0, std, generator=generator))
            else:
                parameter.fill_(0.0 if name.endswith("bias") else 1.0)


def _check_encoder(config: PreTrainedConfig, label: str) -> None:
    advice = "use an encoder such as BERT, RoBERTa or DeBERTa"
    check_one_part(config, label, advice)
    if type(config) not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        raise UserError(
            f"{label}: the architecture '{config.model_type}' has no sequence classification head; "
            f"{advice}"
        )


def _check_padding(tokenizer: PreTrainedTokenizerBase, path: Path, label: str) -> None:
    if tokenizer.pad_token_id is None:
        raise UserError(
            f"{label}: its tokenizer has no padding token; name one as 'pad_token' in "
            f"{path / 'tokenizer_config.json'}"
        )


def _head(model: PreTrainedModel, missing: frozenset[str]) -> tuple[str, ...]:
    """The parameters that are trained with every technique, of which the checkpoint lacks some."""
    names = (name for name, _ in model.named_parameters())
    return tuple(name for name in names if name in missing or _is_trained(model, name))


def _is_head(model: PreTrainedModel, name: str) -> bool:
    """Whether a parameter comes after the layers: outside the base model, or in its pooler."""
    return not name.startswith(f"{model.base_model_prefix}.") or _is_pooler(name)


def _is_trained(model: PreTrainedModel, name: str) -> bool:
    """Whether a parameter is trained with the head though the checkpoint holds it."""
    return _is_head(model, name) and (not _is_pooler(name) or name.endswith("bias"))


def _is_pooler(name: str) -> bool:
    return "pooler" in name.split(".")
