"""A pretrained model of either kind."""

from dataclasses import dataclass

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from beft.models.sites import BiasSites


@dataclass(frozen=True)
class Model:
    """A pretrained `Encoder` or `Decoder`."""

    model: PreTrainedModel  # in evaluation mode
    tokenizer: PreTrainedTokenizerBase  # the checkpoint's
    sites: BiasSites  # the biases inside its layers
    # names of the parameters outside the layers that every technique trains; none in a decoder,
    # which answers with its vocabulary
    head: tuple[str, ...] = ()
    # names of those in `head` that `init_head` sets: the checkpoint does not hold them, or holds
    # them for other classes
    fresh: tuple[str, ...] = ()
    # names of the biases (zeros, frozen) that the checkpoint's q, k, v lacked
    added: tuple[str, ...] = ()
