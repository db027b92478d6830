"""The two files that `beft predict` reads of an adapter's folder: beft.json and beft.safetensors.

beft.safetensors holds every tuned parameter whole, under its name in the model that
`transformers` loads: `AutoModel` where the head reads the mean of all tokens,
`AutoModelForCausalLM` of a decoder, else `AutoModelForSequenceClassification`. So it also holds
what PEFT has no place for: biases of norms, rows of fused projections, biases of models that have
none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from safetensors import SafetensorError
from safetensors.torch import load, save

from beft.errors import UserError, one_line
from beft.store.files import read_json, to_json
from beft.study.fields import Count, HubId, LocalPath, Name, Strict, validate
from beft.study.params import Prompt
from beft.tasks.words import fields
from beft.tuning.examples import Meaning

FACTS, VALUES = "beft.json", "beft.safetensors"
FORMAT = 1

Tensors = Mapping[str, torch.Tensor]
Number = Annotated[float, Field(allow_inf_nan=False)]


class Base(Strict):
    """The model that was tuned."""

    hub: HubId | None = None
    """Its id on the hub."""
    revision: Name | None = None
    """Its commit, tag or branch on the hub."""
    path: LocalPath | None = None
    """Its folder, relative to that of the adapter."""
    sites: dict[str, str] | None = None
    """Where its layers and projections are, if that was declared."""
    sha256: dict[str, str] = Field(min_length=1)
    """The SHA-256 of each file that is read of it."""

    @property
    def name(self) -> str:
        """What messages call it."""
        if self.hub is None:
            return self.path or "a local model"
        return f"{self.hub} (revision {self.revision})" if self.revision else self.hub


class Quality(Strict):
    """How good it was on the test rows."""

    metric: str
    value: Number
    low: Number | None = None
    high: Number | None = None
    rows: Count


class Facts(Strict):
    """The content of beft.json."""

    format: Literal[1]
    base: Base
    technique: str
    terms: list[str]
    """The kinds of biases that were tuned; empty if the head alone was."""
    pooling: Literal["first", "mean"] | None = None
    """What the head of an encoder reads: the first token, or the mean of all tokens."""
    prompt: Prompt | None = None
    """What a decoder is asked, with names of `texts` in braces, and its answer for each class."""
    max_length: Count
    precision: Literal["float32", "bfloat16"]
    """The type that was computed in."""
    texts: list[str] = Field(min_length=1)
    label: str
    classes: list[str]
    mean: Number
    deviation: Annotated[Number, Field(gt=0)]
    test: Quality | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> "Facts":
        if (self.pooling is None) == (self.prompt is None):
            raise ValueError("'pooling' is of encoders and 'prompt' of decoders: one of them")
        if self.prompt is None and len(self.texts) > 2:
            raise ValueError("'texts': an encoder reads one or two")
        if self.prompt is not None:
            _check_prompt(self.prompt, self.texts, self.classes)
        return self

    @property
    def meaning(self) -> Meaning:
        return Meaning(
            tuple(self.texts),
            self.label,
            tuple(self.classes),
            self.mean,
            self.deviation,
            self.prompt,
        )

    @property
    def outputs(self) -> int:
        """The number of outputs of the head: classes, or 1 for a regression."""
        return len(self.classes) or 1


def _check_prompt(prompt: Prompt, texts: Sequence[str], classes: Sequence[str]) -> None:
    named = fields(prompt.template)
    if not set(named) == set(texts) >= {prompt.passage} or named.count(prompt.passage) != 1:
        raise ValueError("'prompt' does not name the columns of 'texts', its passage once")
    if len(prompt.answers) != len(classes):
        raise ValueError("'prompt' needs an answer for each class")
    for text in prompt.answers:
        if not text.strip():
            raise ValueError("'prompt' has an empty answer")


@dataclass(frozen=True)
class Adapted:
    """What was tuned."""

    facts: Facts
    values: Tensors  # parameter -> its whole value after tuning, float32


def files_of(adapted: Adapted) -> dict[str, bytes]:
    """The two files."""
    values = {name: value.float().contiguous() for name, value in adapted.values.items()}
    return {
        FACTS: to_json(adapted.facts.model_dump(mode="json", exclude_none=True)),
        VALUES: save(values, metadata={"format": "pt"}),
    }


def read_adapted(folder: Path) -> Adapted:
    """What was tuned, from the folder of an adapter.

    Raises:
        UserError: it is no such folder, or a file in it is damaged.
    """
    if not (folder / FACTS).is_file():
        what = f"no {FACTS} in it" if folder.is_dir() else "no such folder"
        raise UserError(f"{folder}: {what}; name a folder that 'beft tune' wrote")
    data = read_json(folder / FACTS)
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise UserError(
            f"{folder / FACTS}: not in format {FORMAT}, which this version of beft reads; install "
            "the version that wrote it, or tune again"
        )
    facts = validate(Facts, data, folder / FACTS)
    try:
        values = load((folder / VALUES).read_bytes())
    except (OSError, SafetensorError, ValueError) as error:
        detail = one_line(error, 200)
        raise UserError(f"{folder / VALUES}: damaged ({detail}); copy the folder again") from None
    for name, value in values.items():
        if not (value.is_floating_point() and value.isfinite().all()):
            raise UserError(f"{folder / VALUES}: '{one_line(name, 100)}' holds no finite numbers")
    return Adapted(facts, {name: value.float() for name, value in values.items()})
