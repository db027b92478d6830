"""Load a pretrained decoder (causal language model) from a local directory, and its bias sites."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
    AutoModelForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from beft.errors import UserError
from beft.models.loading import (
    check_vocabulary,
    lacking,
    load_config,
    load_tokenizer,
    load_weights,
    misfit,
    model_label,
    quiet_transformers,
    set_dropout,
)
from beft.models.pretrained import check_checkpoint
from beft.models.sites import BiasSites, add_projection_biases, find_sites


@dataclass(frozen=True)
class Decoder:
    """A pretrained causal language model.

    Attributes:
        model: In evaluation mode, all of it in the dtype that was asked for.
        tokenizer: The checkpoint's own. Where it names no padding token, that is its end of
            sequence, or else token 0: nothing attends to padding, so any token serves.
        sites: Where its biases live, q, k and v always among them.
        head: Empty, as is `fresh`: a decoder answers with its own vocabulary.
        fresh: See `head`.
        added: Names of the biases (zeros, frozen) that the checkpoint's q, k, v lacked.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    sites: BiasSites
    head: tuple[str, ...] = ()
    fresh: tuple[str, ...] = ()
    added: tuple[str, ...] = ()


def load_decoder(
    path: Path,
    *,
    sites: Mapping[str, str] | None = None,
    device: str = "cpu",
    dropout: float | None = None,
    dtype: torch.dtype = torch.float32,
    name: str = "",
) -> Decoder:
    """Load the checkpoint in the directory `path`; nothing is fetched and no code of it is run.

    Projections q, k and v without a bias get one of zeros, which leaves the logits as they are.
    The global random state is neither used nor changed.

    Args:
        path: Directory with config.json, safetensors weights and the tokenizer's files.
        sites: `layers`, `q`, `k`, `v` for an architecture that is not recognised; see `find_sites`.
        device: Where the model goes.
        dropout: Probability of every dropout in the model; None keeps the checkpoint's own.
        dtype: Of all parameters, biases included: what is trained keeps its own float32 values.
        name: The model's alias, for messages.

    Raises:
        UserError: The directory is not a usable checkpoint of a decoder; the message says why.
    """
    path = Path(path)
    label = model_label(path, name)
    check_checkpoint(path, label)
    with quiet_transformers():
        config = load_config(path, label)
        _check_decoder(config, label)
        set_dropout(config, dropout)
        tokenizer = load_tokenizer(path, label)
        model = _model(path, label, config, dtype)
    check_vocabulary(label, tokenizer, model)
    _set_padding(tokenizer)
    try:
        added = add_projection_biases(model, sites)
        found = find_sites(model, sites)
    except UserError as error:
        raise UserError(f"{label}: {error}") from error
    model.to(device)  # type: ignore[arg-type]  # its wrapper hides `self` from mypy
    return Decoder(model.eval(), tokenizer, found, added=added)


def _check_decoder(config: PreTrainedConfig, label: str) -> None:
    kind = f"{label}: the architecture '{config.model_type}'"
    advice = "use a decoder such as OPT, GPT-2 or Llama"
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise UserError(f"{kind} is no causal language model; {advice}")
    if getattr(config, "is_encoder_decoder", False):
        raise UserError(f"{kind} is an encoder with a decoder; {advice}")
    # Families of encoders have a causal model too, which reads both ways unless the config says so.
    if type(config) in MODEL_FOR_MASKED_LM_MAPPING and not getattr(config, "is_decoder", False):
        raise UserError(f"{kind} is an encoder, it cannot continue a prompt; {advice}")


def _model(path: Path, label: str, config: PreTrainedConfig, dtype: torch.dtype) -> PreTrainedModel:
    model, missing, misfits = load_weights(AutoModelForCausalLM, path, label, config, dtype)
    for key, (there, here) in sorted(misfits.items()):
        raise misfit(label, key, there, here)
    # A head that is tied to the embeddings is theirs by name, and is not missed.
    lost = [parameter for parameter, _ in model.named_parameters() if parameter in missing]
    if lost:
        raise lacking(label, "decoder", lost)
    return model


def _set_padding(tokenizer: PreTrainedTokenizerBase) -> None:
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)
