"""Load a pretrained decoder (causal language model) from a local directory, and its bias sites."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, PreTrainedConfig, PreTrainedTokenizerBase

from beft.errors import UserError
from beft.models.base import Model
from beft.models.family import check_one_part, is_causal
from beft.models.loading import load_checkpoint, load_tokenizer, model_label
from beft.models.sites import add_projection_biases, find_sites


@dataclass(frozen=True)
class Decoder(Model):
    """A pretrained causal language model."""


def load_decoder(
    path: Path,
    *,
    sites: Mapping[str, str] | None = None,
    device: str = "cpu",
    dropout: float | None = None,
    dtype: torch.dtype = torch.float32,
    name: str = "",
    label: str = "",
    hollow: bool = False,
) -> Decoder:
    """Load the checkpoint in the directory `path`; nothing is fetched and no code of it is run.

    Projections q, k and v without a bias get one of zeros, which leaves the logits as they are.
    The global random state is neither used nor changed.

    Args:
        path, sites, device, dropout, name, label, hollow: See `load_encoder`.
        dtype: Of all parameters, biases included: trained values are kept in float32 elsewhere.

    Raises:
        UserError: The directory is not a usable checkpoint of a decoder; the message says why.
    """
    label = label or model_label(path, name)
    loaded = load_checkpoint(
        MODEL_FOR_CAUSAL_LM_MAPPING,
        path,
        label,
        _check_decoder,
        lambda model, parameter: False,
        dropout=dropout,
        dtype=dtype,
        hollow=hollow,
    )
    _pad(loaded.tokenizer)
    try:
        added = add_projection_biases(loaded.model, sites)
        found = find_sites(loaded.model, sites)
    except UserError as error:
        raise error.within(label) from error
    if not hollow:
        loaded.model.to(device)  # type: ignore[arg-type]  # its wrapper hides `self` from mypy
    return Decoder(loaded.model, loaded.tokenizer, found, added=added)


def read_tokenizer(path: Path, name: str = "") -> PreTrainedTokenizerBase:
    """Load the tokenizer of a decoder alone, as `load_decoder` does."""
    found = load_tokenizer(path, model_label(path, name))
    _pad(found)
    return found


def _pad(tokenizer: PreTrainedTokenizerBase) -> None:
    if tokenizer.pad_token_id is None:  # nothing attends to padding, so any token serves
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)


def _check_decoder(config: PreTrainedConfig, label: str) -> None:
    kind = f"{label}: the architecture '{config.model_type}'"
    advice = "use a decoder such as OPT, GPT-2 or Llama"
    check_one_part(config, label, advice)
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise UserError(f"{kind} is no causal language model; {advice}")
    if not is_causal(config):
        raise UserError(
            f"{kind} is an encoder, it cannot continue a prompt; {advice}, or remove "
            "'kind: decoder' from the model's definition"
        )
