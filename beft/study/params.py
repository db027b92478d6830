"""The typed model of params.yaml: the only authority on what its keys mean."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PrivateAttr, model_validator

from beft.study.fields import (
    REGIMES,
    Column,
    Count,
    Distinct,
    HubId,
    LocalPath,
    Name,
    NotNegative,
    Several,
    Size,
    Strict,
    StudyName,
    TwoOrMore,
    validate,
)
from beft.study.settings import Decoding, Defaults, Overrides
from beft.study.yaml_file import read_yaml
from beft.tasks.labels import spelt

Kind = Literal["encoder", "decoder"]
Section = Literal["models", "tasks"]  # of definitions
Metric = Literal["accuracy", "f1", "f1_macro", "matthews", "spearman", "pearson"]


class Sites(Strict):
    """The paths of the query, key and value projections in an unrecognised architecture."""

    layers: str
    """Path of the list of layers in the model."""
    q: str
    """Path of the query projection in a layer."""
    k: str
    """Path of the key projection in a layer."""
    v: str
    """Path of the value projection in a layer."""


class Model(Strict):
    """A pretrained model: from the hub, from an installed package, or from a local directory.

    An encoder gets a classification head; a decoder (a causal language model) answers prompts.
    """

    kind: Kind = "encoder"
    """encoder or decoder (causal language model)."""
    hub: HubId | None = None
    """Hub id, owner/name. Needs a pinned 'revision'."""
    revision: Name | None = None
    """Commit of the hub's repository."""
    path: LocalPath | None = None
    """Local directory of the model, relative to params.yaml. Excludes 'hub'."""
    package: (
        Annotated[
            str, Field(pattern=r"^[A-Za-z0-9_]+(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*$", max_length=200)
        ]
        | None
    ) = None
    """Installed Python package that contains the model, and the folder in it. Needs 'hub' (its path
    in the mirror) and 'sha256'."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """Expected SHA-256 of model.safetensors."""
    sites: Sites | None = None
    """Paths of the projections, for an architecture that is not recognised."""
    parameters: Annotated[int, Field(gt=0, lt=2**50, strict=True)] | None = None
    """Number of parameters, to about 1 %. Plans and jobs' requests are estimated from it before the
    weights are there. No result depends on it."""

    @model_validator(mode="after")
    def _one_source(self) -> "Model":
        if (self.hub is None) == (self.path is None):
            raise ValueError("give either 'hub' (with 'revision') or 'path'")
        if self.hub is not None and self.revision is None:
            raise ValueError("'hub' needs a pinned 'revision'")
        if self.path is not None and (self.revision or self.sha256 or self.package):
            raise ValueError("'revision', 'sha256' and 'package' go with 'hub', not with 'path'")
        if self.package is not None and (self.hub is None or self.sha256 is None):
            raise ValueError("'package' needs 'hub' (its path in the mirror) and 'sha256'")
        return self


class Prompt(Strict):
    """The prompt that asks a decoder for the class of an example."""

    template: Annotated[str, Field(min_length=1)]
    """The prompt, with {column} where a column's text goes."""
    passage: Column
    """The column whose beginning is cut off where the prompt is too long."""
    answers: TwoOrMore[Annotated[str, Field(min_length=1)]]
    """The answers, one for each label, in the order of 'labels'."""


class TaskSettings(Overrides):
    """Training settings of one task, and the sizes of its regimes."""

    regimes: dict[Literal["low", "medium", "high"], Size] = {}
    """Training examples of each regime. The regime 'all' needs no entry."""
    models: dict[Name, Overrides] = {}
    """Training settings of single models on this task."""
    techniques: dict[Name, Overrides] = {}
    """Training settings of single techniques on this task."""

    @model_validator(mode="after")
    def _growing(self) -> "TaskSettings":
        given = [self.regimes[regime] for regime in REGIMES if regime in self.regimes]
        sizes = [float("inf") if size == "all" else size for size in given]
        if sizes != sorted(sizes):
            raise ValueError("regimes must not shrink from low to medium to high")
        return self


class Task(TaskSettings):
    """A dataset and how it is read. Absent keys are taken from the built-in table of tasks."""

    hub: HubId | None = None
    """Hub id of the dataset. Needs a 'revision'."""
    config: Name | None = None
    """Configuration (subset) of the hub's dataset."""
    revision: Name | None = None
    """Commit of the hub's repository."""
    path: LocalPath | None = None
    """Local directory with train.csv, validation.csv (or jsonl, parquet), relative to params.yaml.
    Excludes 'hub'."""
    demo: bool = False
    """The dataset is generated English of the demo."""
    text: Annotated[list[Column], Field(min_length=1, max_length=2)] | None = None
    """One or two columns, or templates such as "{word}: {sentence1}": what an encoder reads."""
    label: Column | None = None
    """The column that holds the label."""
    labels: Distinct[str] | None = None
    """Class names, in the order of their numbers. An empty list means regression."""
    metric: Metric | None = None
    """The reported metric."""
    train: Name | None = None
    """Split that is trained on. Default: train."""
    validation: Several[Name] | None = None
    """Splits that are evaluated; the first one chooses the best epoch. Default: validation."""
    stratify: bool = False
    """Subsets keep the share that each class has in the training split."""
    prompt: Prompt | None = None
    """The prompt for decoders, for a task of classes."""
    decoder: TaskSettings | None = None
    """Settings and regimes for decoders. They replace all those of the task itself."""

    @model_validator(mode="after")
    def _one_source(self) -> "Task":
        if (self.hub is not None) + (self.path is not None) + self.demo != 1:
            raise ValueError("give exactly one of 'hub' (with 'revision'), 'path' or 'demo: true'")
        if self.hub is not None and self.revision is None:
            raise ValueError("'hub' needs a pinned 'revision'")
        if self.hub is None and (self.config or self.revision):
            raise ValueError("'config' and 'revision' go with 'hub'")
        if "held_out" in (self.validation or []):
            raise ValueError("'held_out' is a reserved name: the setting held_out makes that split")
        if (self.train or "train") in (self.validation or ["validation"]):
            raise ValueError(
                f"'{self.train or 'train'}' is trained on and evaluated: name another split in "
                "'train' or 'validation'"
            )
        if self.labels is not None and len(self.labels) == 1:
            raise ValueError("'labels' needs two or more classes, or [] for regression")
        seen: dict[str, str] = {}
        for name in self.labels or []:
            if (other := seen.setdefault(spelt(name), name)) != name:
                raise ValueError(
                    f"'labels' names one value twice: '{other}' and '{name}', which files may "
                    "write either way; keep one of them"
                )
        return self

    def settings(self, kind: str) -> TaskSettings:
        """The settings and regimes for models of a kind (`encoder` or `decoder`)."""
        return self.decoder if kind == "decoder" and self.decoder is not None else self


class Execution(Strict):
    """How jobs run. No result depends on these keys, so they are not part of a recipe."""

    threads: Count = 1
    """CPU threads of one job."""
    memory_mb: Count = 6000
    """Memory that a job asks the scheduler for at its first attempt, in MB."""
    runtime_minutes: Count = 120
    """Run time that a job asks the scheduler for at its first attempt."""
    gpu: Annotated[int, Field(ge=0, le=1000, strict=True)] = 0
    """GPUs of one job. 0 trains on the CPU."""
    checkpoint_seconds: NotNegative = 60
    """Seconds between checkpoints. A job that was killed repeats at most as much."""


class Params(Strict):
    """params.yaml: every scientific choice."""

    study: StudyName
    """The default study: a name in studies/, or the path of a study file."""
    training: Defaults
    """Training settings of every run. Tasks, techniques and studies override them."""
    decoder: Decoding = Decoding()
    """Training settings of decoders, on top of 'training'."""
    models: dict[Name, Model]
    """Pretrained models, by the name studies use."""
    tasks: dict[Name, Task]
    """Datasets, by the name studies use."""
    techniques: dict[Name, Overrides]
    """Training settings of single techniques on every task."""
    execution: Execution = Execution()
    """How jobs run. No result depends on it."""
    # Of definitions that stand in a study: section and name -> the file.
    _files: dict[tuple[Section, str], Path] = PrivateAttr(default_factory=dict)
    # Names of definitions that are not checked and not held, as the study does not use them.
    _unused: dict[Section, list[str]] = PrivateAttr(default_factory=dict)

    def known(self, section: Section) -> list[str]:
        """The names of all definitions that a study could use."""
        return [*getattr(self, section), *self._unused.get(section, ())]

    def file(self, section: Section, name: str) -> str:
        """The file that a definition stands in, for messages."""
        return str(self._files.get((section, name), "params.yaml"))

    def place(self, section: Section, name: str) -> str:
        """The same with its key: `params.yaml: tasks.NAME`."""
        return f"{self.file(section, name)}: {section}.{name}"


def load_params(path: Path) -> Params:
    """Reads and checks params.yaml.

    Raises:
        UserError: one line that names the file, the key and the nearest valid name.
    """
    return validate(Params, read_yaml(path), path)
