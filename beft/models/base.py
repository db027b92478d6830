"""A pretrained model of either kind."""

from dataclasses import dataclass

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from beft.models.sites import BiasSites


@dataclass(frozen=True)
class Model:
    """A pretrained `Encoder` or `Decoder`.

    Attributes:
        model: In evaluation mode.
        tokenizer: The checkpoint's tokenizer.
        sites: The biases inside its layers.
        head: Names of the parameters outside the layers that every technique trains; none in a
            decoder, which answers with its vocabulary.
        fresh: Names of those in `head` that the checkpoint does not hold: `init_head` sets them.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    sites: BiasSites
    head: tuple[str, ...] = ()
    fresh: tuple[str, ...] = ()
