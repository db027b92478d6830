"""The typed model of params.yaml and of studies: the only authority on what a setting means."""

import difflib
import re
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from beft.errors import UserError

REGIMES = ("low", "medium", "high", "all")
METRICS = ("accuracy", "f1", "f1_macro", "matthews", "spearman", "pearson")
SELECTORS = ("projection", "projection_printed", "magnitude", "fisher", "fisher_batch")
TABLES = ("table1", "table1_last", "selection")
FIGURES = ("figure1", "figure4", "layers", "curves")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def nearest(name: str, valid: Iterable[str]) -> str:
    """A hint for a misspelt name: the closest valid one, else the list of valid ones."""
    valid = sorted(str(v) for v in valid)
    close = difflib.get_close_matches(str(name), valid, n=1, cutoff=0.5)
    if close:
        return f"did you mean '{close[0]}'?"
    return f"valid: {', '.join(valid)}" if valid else "none are defined"


def _name(value: str) -> str:
    if not NAME.fullmatch(value):
        raise ValueError(f"'{value}' is not a name (letters, digits, '.', '_' and '-' only)")
    return value


def _hub_id(value: str) -> str:
    parts = value.split("/")
    if len(parts) > 2 or not all(NAME.fullmatch(p) for p in parts):
        raise ValueError(f"'{value}' is not a hub id (owner/name)")
    return value


def _not_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("expected a number, not true or false")
    return value


def _distinct(values: list) -> list:
    seen = set()
    for value in values:
        if value in seen:
            raise ValueError(f"'{value}' is listed twice")
        seen.add(value)
    return values


Name = Annotated[str, AfterValidator(_name)]
HubId = Annotated[str, AfterValidator(_hub_id)]
Count = Annotated[int, Field(gt=0, strict=True)]
Size = Count | Literal["all"]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False), BeforeValidator(_not_bool)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False), BeforeValidator(_not_bool)]
Fraction = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False), BeforeValidator(_not_bool)]
Seed = Annotated[int, Field(ge=0, lt=2**31, strict=True)]
Regime = Literal["low", "medium", "high", "all"]
Column = Annotated[str, Field(min_length=1, max_length=200)]
Precision = Literal["float32", "bfloat16", "auto"]
StudyName = Annotated[str, Field(min_length=1)]  # a name in studies/, or a path


class _Strict(BaseModel):
    """A mapping whose keys are all known; a misspelt key is an error that names the nearest."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: Any) -> Any:
        if data is None:
            return {}
        if isinstance(data, dict):
            for key in data:
                if key not in cls.model_fields:
                    raise ValueError(f"unknown key '{key}'; {nearest(key, cls.model_fields)}")
        return data


class Overrides(_Strict):
    """Training settings that a task, a technique or a study sets differently."""

    learning_rate: Positive | None = None
    epochs: Count | None = None
    batch_size: Count | None = None
    max_length: Count | None = None
    weight_decay: NotNegative | None = None
    max_grad_norm: Positive | None = None
    dropout: Fraction | None = None
    precision: Precision | None = None


class Training(_Strict):
    """The settings of one fine-tune, all of them resolved.

    Attributes:
        learning_rate: constant over the run (AdamW).
        epochs: passes over the training subset; 0 where nothing is trained.
        batch_size: examples per step.
        max_length: tokens; longer inputs are truncated.
        weight_decay: of AdamW.
        max_grad_norm: gradients are clipped to this global norm.
        dropout: probability everywhere in the model; none means the checkpoint's own.
        precision: `bfloat16` runs the model under autocast; trained parameters stay float32. `auto`
            does so where the hardware computes in bfloat16; a run's provenance says what it was.
    """

    learning_rate: NotNegative
    epochs: Annotated[int, Field(ge=0, strict=True)]
    batch_size: Count
    max_length: Count
    weight_decay: NotNegative
    max_grad_norm: Positive
    dropout: Fraction | None = None
    precision: Precision


class Defaults(Overrides):
    """`training:` in params.yaml: what holds where nobody says otherwise."""

    batch_size: Count
    max_length: Count
    weight_decay: NotNegative
    max_grad_norm: Positive
    precision: Precision


class Sites(_Strict):
    """Where an architecture that is not recognised keeps its projections."""

    layers: str
    q: str
    k: str
    v: str


class Model(_Strict):
    """A pretrained model: from the hub, from an installed package, or from a local directory."""

    hub: HubId | None = None
    revision: Name | None = None
    path: str | None = None
    package: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+(/[A-Za-z0-9_.-]+)*$")] | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    sites: Sites | None = None

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


class Task(Overrides):
    """A dataset and how to read it; what is absent comes from the table of tasks.

    Attributes:
        text: one or two columns, or templates such as "{word}: {sentence1}".
        label: the label column.
        labels: the class names in order of their numbers; an empty list means regression.
        train, validation: split names.
        regimes: training-set sizes; `all` always exists.
        models, techniques: training settings for single models or techniques on this task.
    """

    hub: HubId | None = None
    config: Name | None = None
    revision: Name | None = None
    path: str | None = None
    demo: bool = False
    text: Annotated[list[Column], Field(min_length=1, max_length=2)] | None = None
    label: Column | None = None
    labels: Annotated[list[str], AfterValidator(_distinct)] | None = None
    metric: Literal[METRICS] | None = None
    train: Name | None = None
    validation: Annotated[list[Name], Field(min_length=1), AfterValidator(_distinct)] | None = None
    regimes: dict[Literal["low", "medium", "high"], Size] = {}
    stratify: bool = False
    models: dict[Name, Overrides] = {}
    techniques: dict[Name, Overrides] = {}

    @model_validator(mode="after")
    def _one_source(self) -> "Task":
        if (self.hub is not None) + (self.path is not None) + self.demo != 1:
            raise ValueError("give exactly one of 'hub' (with 'revision'), 'path' or 'demo: true'")
        if self.hub is not None and self.revision is None:
            raise ValueError("'hub' needs a pinned 'revision'")
        if self.hub is None and (self.config or self.revision):
            raise ValueError("'config' and 'revision' go with 'hub'")
        if self.labels is not None and len(self.labels) == 1:
            raise ValueError("'labels' needs two or more classes, or [] for regression")
        given = [self.regimes[r] for r in REGIMES if r in self.regimes]
        sizes = [float("inf") if size == "all" else size for size in given]
        if sizes != sorted(sizes):
            raise ValueError("regimes must not shrink from low to medium to high")
        return self


class Execution(_Strict):
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


class Params(_Strict):
    """params.yaml: every scientific choice."""

    study: StudyName
    training: Defaults
    models: dict[Name, Model]
    tasks: dict[Name, Task]
    techniques: dict[Name, Overrides]
    execution: Execution = Execution()


def _list_of(item: Any, least: int = 1) -> Any:
    return Annotated[list[item], Field(min_length=least), AfterValidator(_distinct)]


class Study(_Strict):
    """A selection of what to run, and which tables and figures to write.

    Attributes:
        training: settings for every run of this study, unless its technique has its own.
        selectors: which scores to compute; they bring the runs they need along (`all_biases`
            for projection and magnitude, `untuned` for Fisher).
        skip_inert: leave out runs of terms whose measured gradient is zero up to rounding.
        fuse_techniques: one job for all techniques of a (model, task, regime), rather than one
            job each.
    """

    description: str = ""
    models: _list_of(Name)
    tasks: _list_of(Name)
    regimes: _list_of(Regime)
    techniques: _list_of(Name)
    seeds: _list_of(Seed)
    training: Overrides = Overrides()
    selectors: _list_of(Literal[SELECTORS], least=0) = list(SELECTORS)
    skip_inert: bool = False
    fuse_techniques: bool = False
    tables: _list_of(Literal[TABLES], least=0) = ["table1", "selection"]
    figures: _list_of(Literal[FIGURES], least=0) = list(FIGURES)


class _Loader(yaml.SafeLoader):
    """YAML where a name defined twice is an error, not a silent overwrite."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if not isinstance(key, Hashable):
                raise UserError(f"{self.name}: line {line}: a key must be a single value")
            if key in seen:
                raise UserError(f"{self.name}: line {line}: '{key}' is defined twice")
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> dict:
    """A YAML mapping from a file.

    Raises:
        UserError: when the file is missing, empty, not UTF-8, not YAML, or not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (UnicodeDecodeError, OSError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    try:
        loader = _Loader(text)
        loader.name = str(path)
        data = loader.get_single_data()
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from None
    if not isinstance(data, dict):
        what = "empty" if data is None else "not a mapping of keys to values"
        raise UserError(f"{path}: the file is {what}")
    return data


def _validate(cls: type[BaseModel], data: dict, path: Path) -> Any:
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
    return _validate(Params, read_yaml(path), path)


def study_path(name: str, root: Path) -> Path:
    """The file of a study given by name (in `studies/`) or by path."""
    if NAME.fullmatch(name) and not name.endswith((".yaml", ".yml")):
        path = root / "studies" / f"{name}.yaml"
        if not path.is_file():
            known = [p.stem for p in (root / "studies").glob("*.yaml")]
            raise UserError(f"study '{name}': {path} does not exist; {nearest(name, known)}")
        return path
    path = Path(name)
    return path if path.is_absolute() else root / path


def load_study(name: str, root: Path) -> Study:
    """A study by name or path, checked on its own (`recipe.grid` checks it against params)."""
    path = study_path(name, root)
    return _validate(Study, read_yaml(path), path)
