"""A pretrained model of either kind."""

from dataclasses import dataclass

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from beft.models.sites import BiasSites


@dataclass(frozen=True)
class Model:
    """A pretrained `Encoder` or `Decoder`."""

    model: PreTrainedModel  # in evaluation mode
    tokenizer: PreTrainedTokenizerBase  # the checkpoint's tokenizer
    sites: BiasSites  # the biases inside its layers
    # names of the parameters outside the layers that every technique trains; none in a decoder,
    # which answers with its vocabulary
    head: tuple[str, ...] = ()
    # names of those in `head` that the checkpoint does not hold: `init_head` sets them
    fresh: tuple[str, ...] = ()
