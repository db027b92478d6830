"""The interface that pretrained encoders and decoders share."""

from typing import Protocol

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from beft.models.sites import BiasSites


class Model(Protocol):
    """A pretrained `Encoder` or `Decoder`; the two classes describe the attributes."""

    @property
    def model(self) -> PreTrainedModel: ...

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase: ...

    @property
    def sites(self) -> BiasSites: ...

    @property
    def head(self) -> tuple[str, ...]: ...

    @property
    def fresh(self) -> tuple[str, ...]: ...
