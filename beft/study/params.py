"""The typed model of params.yaml: the only authority on what a setting means."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, ValidationError, model_validator

from beft.errors import UserError
from beft.study.fields import (
    Column,
    Count,
    Fraction,
    HubId,
    Name,
    NotNegative,
    Positive,
    Precision,
    Size,
    Strict,
    StudyName,
    distinct,
    list_of,
    nearest,
)
from beft.study.yaml_file import read_yaml

REGIMES = ("low", "medium", "high", "all")
KINDS = ("encoder", "decoder")
METRICS = ("accuracy", "f1", "f1_macro", "matthews", "spearman", "pearson")
OBJECTIVES = ("cross_entropy_over_candidates", "language_model_on_answer")
SCORINGS = ("normalised", "plain", "calibrated")
SELECTORS = ("projection", "projection_printed", "magnitude", "fisher", "fisher_batch")


class Overrides(Strict):
    """Training settings that a task, a technique or a study sets differently."""

    learning_rate: Positive | None = None
    epochs: Count | None = None
    batch_size: Count | None = None
    max_length: Count | None = None
    weight_decay: NotNegative | None = None
    max_grad_norm: Positive | None = None
    dropout: Fraction | None = None
    precision: Precision | None = None
    objective: Literal[OBJECTIVES] | None = None
    scoring: Literal[SCORINGS] | None = None
    evaluated: Size | None = None
    max_new_tokens: Count | None = None
    demonstrations: Count | None = None
    lora_rank: Count | None = None
    lora_alpha: Count | None = None
    prefix_tokens: Count | None = None
    held_out: Fraction | None = None


class Training(Strict):
    """The settings of one fine-tune, all of them resolved.

    Those that are None by default enter only the recipes that read them: the first four of them
    those of decoders, the others those of techniques that name them.

    Attributes:
        learning_rate: constant over the run (AdamW).
        epochs: passes over the training subset; 0 where nothing is trained.
        batch_size: examples per step.
        max_length: tokens; longer inputs are truncated.
        weight_decay: of AdamW.
        max_grad_norm: gradients are clipped to this global norm.
        dropout: probability everywhere in the model; none means the checkpoint's own.
        precision: `bfloat16` runs the model under autocast; trained parameters stay float32. `auto`
            does so where the hardware is faster in bfloat16; a run's provenance says what it was.
        objective: cross-entropy over the candidates' scores, or the language model's loss on the
            right answer.
        scoring: of candidates, by log-likelihood: `normalised` divides by the number of tokens,
            `plain` does not, `calibrated` subtracts that of the same answer without the prompt.
        evaluated: examples of each validation split, the same ones for every run.
        max_new_tokens: of a generated answer, which ends earlier at a newline.
        demonstrations: solved examples before a prompt, as many of them as fit.
        lora_rank, lora_alpha: of LoRA's matrices; what they add is scaled by alpha / rank.
        prefix_tokens: length of a trained prefix.
        held_out: the share of the training subset that is not trained on but chooses the best
            epoch, so that validation only reports; none or 0: validation does both.
    """

    learning_rate: NotNegative
    epochs: Annotated[int, Field(ge=0, strict=True)]
    batch_size: Count
    max_length: Count
    weight_decay: NotNegative
    max_grad_norm: Positive
    dropout: Fraction | None = None
    precision: Precision
    objective: Literal[OBJECTIVES] | None = None
    scoring: Literal[SCORINGS] | None = None
    evaluated: Size | None = None
    max_new_tokens: Count | None = None
    demonstrations: Count | None = None
    lora_rank: Count | None = None
    lora_alpha: Count | None = None
    prefix_tokens: Count | None = None
    held_out: Fraction | None = None


class Defaults(Overrides):
    """`training:` in params.yaml: what holds where nobody says otherwise."""

    batch_size: Count
    max_length: Count
    weight_decay: NotNegative
    max_grad_norm: Positive
    precision: Precision


class Decoding(Overrides):
    """`decoder:` in params.yaml: what holds for decoders where nobody says otherwise."""

    scoring: Literal[SCORINGS] = "normalised"
    evaluated: Size = "all"
    max_new_tokens: Count = 50


class Sites(Strict):
    """Where an architecture that is not recognised keeps its projections."""

    layers: str
    q: str
    k: str
    v: str


class Model(Strict):
    """A pretrained model: from the hub, from an installed package, or from a local directory.

    An encoder gets a classification head; a decoder (a causal language model) answers prompts.

    Attributes:
        parameters: how many it has, to the per cent: for plans and for what jobs ask for, before
            the weights are there. No number of a run depends on it.
    """

    kind: Literal[KINDS] = "encoder"
    hub: HubId | None = None
    revision: Name | None = None
    path: str | None = None
    package: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+(/[A-Za-z0-9_.-]+)*$")] | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    sites: Sites | None = None
    parameters: Count | None = None

    @model_validator(mode="after")
    def _one_source(self) -> "Model":
        if (self.hub is None) == (self.path is None):
            raise ValueError("give either 'hub' (with 'revision') or 'path'")
        if self.hub is not None and self.revision is None:
            raise ValueError("'hub' needs a pinned 'revision'")
        if self.path is not None and (self.revision or self.sha256 or self.package):
            raise ValueError("'revision', 'sha256' and 'package' go with 'hub', not with 'path'")
        if self.package is not None and (self.hub is None or self.sha256 is None):
            raise ValueError("'package' needs 'hub' (its place in the mirror) and 'sha256'")
        return self


class Prompt(Strict):
    """How a decoder is asked for the class of an example.

    Attributes:
        template: the prompt, with {columns}.
        passage: the column whose beginning is left out where the prompt is too long.
        answers: one for each label, in their order.
    """

    template: Annotated[str, Field(min_length=1)]
    passage: Column
    answers: list_of(Annotated[str, Field(min_length=1)], least=2)


class Settings(Overrides):
    """Training settings and sizes of a task.

    Attributes:
        regimes: training-set sizes; `all` always exists.
        models, techniques: training settings for single models or techniques on this task.
    """

    regimes: dict[Literal["low", "medium", "high"], Size] = {}
    models: dict[Name, Overrides] = {}
    techniques: dict[Name, Overrides] = {}

    @model_validator(mode="after")
    def _growing(self) -> "Settings":
        given = [self.regimes[r] for r in REGIMES if r in self.regimes]
        sizes = [float("inf") if size == "all" else size for size in given]
        if sizes != sorted(sizes):
            raise ValueError("regimes must not shrink from low to medium to high")
        return self


class Task(Settings):
    """A dataset and how to read it; what is absent comes from the table of tasks.

    Attributes:
        text: one or two columns, or templates such as "{word}: {sentence1}".
        label: the label column.
        labels: the class names in order of their numbers; an empty list means regression.
        train, validation: split names.
        prompt: how decoders are asked, for a task whose examples have classes.
        decoder: for decoders, takes the place of this task's own settings and sizes.
    """

    hub: HubId | None = None
    config: Name | None = None
    revision: Name | None = None
    path: str | None = None
    demo: bool = False
    text: Annotated[list[Column], Field(min_length=1, max_length=2)] | None = None
    label: Column | None = None
    labels: Annotated[list[str], AfterValidator(distinct)] | None = None
    metric: Literal[METRICS] | None = None
    train: Name | None = None
    validation: Annotated[list[Name], Field(min_length=1), AfterValidator(distinct)] | None = None
    stratify: bool = False
    prompt: Prompt | None = None
    decoder: Settings | None = None

    @model_validator(mode="after")
    def _one_source(self) -> "Task":
        if (self.hub is not None) + (self.path is not None) + self.demo != 1:
            raise ValueError("give exactly one of 'hub' (with 'revision'), 'path' or 'demo: true'")
        if self.hub is not None and self.revision is None:
            raise ValueError("'hub' needs a pinned 'revision'")
        if self.hub is None and (self.config or self.revision):
            raise ValueError("'config' and 'revision' go with 'hub'")
        if "held_out" in (self.validation or []):
            raise ValueError("no split of validation can be 'held_out': training cuts that one")
        if self.labels is not None and len(self.labels) == 1:
            raise ValueError("'labels' needs two or more classes, or [] for regression")
        return self

    def of(self, kind: str) -> Settings:
        """The settings and sizes for this kind of model."""
        return self.decoder if kind == "decoder" and self.decoder is not None else self


class Execution(Strict):
    """How jobs run. Nothing here changes a number, so nothing here is part of a recipe.

    Attributes:
        threads: CPU threads of one job.
        memory_mb, runtime_minutes: asked of the scheduler for the first attempt.
        gpu: GPUs of one job; 0 trains on the CPU.
        checkpoint_seconds: a killed job repeats at most this much.
    """

    threads: Count = 1
    memory_mb: Count = 6000
    runtime_minutes: Count = 120
    gpu: Annotated[int, Field(ge=0, strict=True)] = 0
    checkpoint_seconds: NotNegative = 60


class Params(Strict):
    """params.yaml: every scientific choice."""

    study: StudyName
    training: Defaults
    decoder: Decoding = Decoding()
    models: dict[Name, Model]
    tasks: dict[Name, Task]
    techniques: dict[Name, Overrides]
    execution: Execution = Execution()


def validate(cls: type[BaseModel], data: dict, path: Path) -> Any:
    """Plain data of a file as a model of ours, or one line that names the file and the key."""
    try:
        return cls.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(p) for p in first["loc"] if p not in ("[key]", "constrained-int"))
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "literal_error":
            valid = re.findall(r"'([^']*)'", first["ctx"]["expected"])
            message = f"{message}; {nearest(first['input'], valid)}"
        got = "" if isinstance(first["input"], dict | list) else f" (got {first['input']!r})"
        raise UserError(f"{path}: {where + ': ' if where else ''}{message}{got}") from None


def load_params(path: Path) -> Params:
    """params.yaml, checked.

    Raises:
        UserError: one line that names the file, the key and the nearest valid name.
    """
    return validate(Params, read_yaml(path), path)
