"""Check, when a model is fetched, all that a job would find wrong with it."""

import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from beft.engine.decoder.check import check_rows
from beft.errors import UserError, one_line
from beft.models.base import Model
from beft.models.decoder import Decoder, load_decoder
from beft.models.encoder import Encoder, load_encoder
from beft.models.family import is_causal
from beft.models.loading import quiet_transformers, read_config
from beft.models.pretrained import check_checkpoint
from beft.study import params as P

log = logging.getLogger(__name__)

TRIED = 4 * 10**8  # numbers: models of at most this size compute a text, in float32
TEXT = "The film is good."


def check_usable(path: Path, label: str, model: P.Model) -> None:
    """Check that a fetched model can be loaded and tuned; all weights are read, none is kept.

    Args:
        path: The checkpoint's directory.
        label: What messages call the model.
        model: Its definition.

    Raises:
        UserError: It cannot; the message says why.
    """
    sites = model.sites.model_dump() if model.sites else None
    if "kind" not in model.model_fields_set:
        _check_kind(path, label)
    # First without weights: shapes take no memory, and most mistakes show in them.
    found = _load(path, label, model.kind, sites, hollow=True)
    check_tokenizer(found.tokenizer, label, prompts=model.kind == "decoder")
    if sum(p.numel() for p in found.model.parameters()) <= TRIED:
        _try(_load(path, label, model.kind, sites, hollow=False), label)
    if found.sites.left_out:
        names = ", ".join(found.sites.left_out)
        log.info("%s: not tuned, as no linear and no norm adds them: %s", label, names)


def _load(
    path: Path, label: str, kind: str, sites: Mapping[str, str] | None, *, hollow: bool
) -> Encoder | Decoder:
    try:
        if kind == "decoder":
            return load_decoder(path, sites=sites, label=label, hollow=hollow)
        return load_encoder(path, 2, sites=sites, label=label, hollow=hollow)
    except UserError:
        raise
    except Exception as error:  # settings that only the search for biases reads
        detail = one_line(f"{type(error).__name__}: {error}", 200)
        raise UserError(
            f"{label}: config.json does not describe this model ({detail}); fetch it again, or use "
            "another checkpoint"
        ) from error


def _check_kind(path: Path, label: str) -> None:
    """Check that a model whose definition does not say what it is, is an encoder."""
    config = read_config(check_checkpoint(path, label), label)
    if is_causal(config):
        raise UserError(
            f"{label}: '{config.model_type}' is a causal language model: add 'kind: decoder' to "
            "its definition, or 'kind: encoder' to train a classification head on it"
        )


def check_tokenizer(tokenizer: PreTrainedTokenizerBase, label: str, prompts: bool) -> None:
    """Check that the tokenizer does to a text what encoders, or prompts of decoders, need."""
    if prompts and not tokenizer.is_fast:
        raise UserError(
            f"{label}: its tokenizer, a {type(tokenizer).__name__}, does not tell where a token "
            "lies in a text, which prompts need: use a model that has a tokenizer.json"
        )
    if not set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens):
        raise UserError(
            f"{label}: its tokenizer, a {type(tokenizer).__name__}, has no words: its vocabulary "
            "is empty; fetch the tokenizer's files again"
        )
    try:
        if prompts:
            ids = tokenizer(TEXT, return_offsets_mapping=True)["input_ids"]
        else:
            (ids,) = tokenizer([TEXT], [TEXT], truncation=True, max_length=8)["input_ids"]
    except Exception as error:  # the tokenizers' own
        detail = one_line(f"{type(error).__name__}: {error}", 200)
        raise UserError(f"{label}: its tokenizer cannot encode a text: {detail}") from error
    if not ids or not all(isinstance(token, int) for token in ids):
        raise UserError(f"{label}: its tokenizer makes no tokens of a text; use another model")


@torch.inference_mode()
def _try(model: Model, label: str) -> None:
    """Let a model compute a text, and compare rows of a decoder with the decoder alone."""
    try:
        with quiet_transformers():
            if isinstance(model, Decoder):
                check_rows(model, "cpu", label)
            batch = model.tokenizer([TEXT], return_tensors="pt")
            logits = model.model(**batch).logits
    except UserError:
        raise
    except Exception as error:  # whatever a model raises whose settings do not fit together
        detail = one_line(f"{type(error).__name__}: {error}", 200)
        raise UserError(
            f"{label}: it cannot compute a text with the settings of config.json ({detail}); fetch "
            "it again, or use another checkpoint"
        ) from error
    if not logits.isfinite().all():
        raise UserError(
            f"{label}: what it computes of a text is not finite; config.json and the weights do "
            "not belong together: fetch both from the same checkpoint"
        )
