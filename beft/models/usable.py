"""Check, when a model is fetched, all that a job would find wrong with it."""

from collections.abc import Mapping
from pathlib import Path
from threading import Lock

from transformers import PreTrainedTokenizerBase

from beft.errors import UserError, one_line
from beft.models.decoder import load_decoder
from beft.models.encoder import load_encoder
from beft.models.family import is_causal
from beft.models.loading import read_config
from beft.models.pretrained import check_checkpoint

# transformers sets global states while it loads, and models are fetched in threads.
_ONE_AT_A_TIME = Lock()


def check_usable(
    path: Path, label: str, kind: str | None, sites: Mapping[str, str] | None = None
) -> None:
    """Check that the model in `path` can be loaded and tuned; its weights are read, but not kept.

    Args:
        path: The checkpoint's directory.
        label: What messages call the model.
        kind: `encoder` or `decoder`, as the model's definition has it; None if it does not say, and
            the model counts as an encoder.
        sites: See `load_encoder`.

    Raises:
        UserError: It cannot; the message says why.
    """
    with _ONE_AT_A_TIME:
        if kind == "decoder":
            decoder = load_decoder(path, sites=sites, label=label, hollow=True)
            _check_tokenizer(decoder.tokenizer, label, prompts=True)
            return
        config = read_config(check_checkpoint(path, label), label)
        if kind is None and is_causal(config):
            raise UserError(
                f"{label}: '{config.model_type}' is a causal language model: add 'kind: decoder' "
                "to its definition, or 'kind: encoder' to train a classification head on it"
            )
        encoder = load_encoder(path, 2, sites=sites, label=label, hollow=True)
        _check_tokenizer(encoder.tokenizer, label, prompts=False)


def _check_tokenizer(tokenizer: PreTrainedTokenizerBase, label: str, prompts: bool) -> None:
    """Check that the tokenizer does to a text what encoders, or prompts of decoders, need."""
    if prompts and not tokenizer.is_fast:
        raise UserError(
            f"{label}: its tokenizer, a {type(tokenizer).__name__}, does not tell where a token "
            "lies in a text, which prompts need: use a model that has a tokenizer.json"
        )
    # What transformers makes up where it finds no vocabulary has special tokens only.
    if not set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens):
        raise UserError(
            f"{label}: its tokenizer, a {type(tokenizer).__name__}, has no words: its vocabulary "
            "is missing; fetch the tokenizer's files again"
        )
    try:
        if prompts:
            found = tokenizer("The film is good.", return_offsets_mapping=True)
        else:
            found = tokenizer(["The film is good."], ["A film."], truncation=True, max_length=8)
    except Exception as error:  # the tokenizers' own
        detail = one_line(f"{type(error).__name__}: {error}", 200)
        raise UserError(f"{label}: its tokenizer cannot encode a text: {detail}") from error
    if not found["input_ids"]:
        raise UserError(f"{label}: its tokenizer makes no token of a text; use another model")
