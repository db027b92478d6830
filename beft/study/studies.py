"""The typed model of a study: what to run, and which tables and figures to write."""

from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field, PrivateAttr

from beft.errors import UserError
from beft.study.definitions import (
    SECTIONS,
    Models,
    OwnDefinitions,
    Tasks,
    joined,
    own_definitions,
)
from beft.study.fields import (
    Count,
    Distinct,
    Name,
    Regime,
    Seed,
    Several,
    Strict,
    StudyName,
    TwoOrMore,
    restated,
    validate,
)
from beft.study.params import Section
from beft.study.settings import Overrides
from beft.study.study_files import study_path
from beft.study.yaml_file import read_yaml

Selector = Literal["projection", "projection_printed", "magnitude", "fisher", "fisher_batch"]
Table = Literal[  # of the paper, then further ones
    Literal["table1", "table1_last", "table2", "table3", "table4", "table5", "table6"],
    Literal["selection", "selectors", "settled", "comparisons", "inert", "ranks", "extension"],
]
Figure = Literal[
    Literal["figure1", "figure4"],
    Literal["layers", "curves", "extension", "selectors", "settled", "zero_shot", "cost"],
]
# Selectors that compare biases before and after training (`beft.selectors.Selector.needs`).
OF_SNAPSHOTS: tuple[Selector, ...] = ("projection", "projection_printed", "magnitude")
TABLES: tuple[Table, ...] = get_args(Table)
FIGURES: tuple[Figure, ...] = get_args(Figure)


class Selection(Strict):
    """Further runs: the product of these lists. An absent key is taken from the study itself."""

    models: Models | None = None
    """Names of models in params.yaml; or a mapping of names to definitions of the study's own,
    written as there. A name that is mapped to nothing is one of params.yaml."""
    tasks: Tasks | None = None
    """The same for tasks: names, or a mapping of names to definitions."""
    regimes: Several[Regime] | None = None
    """Sizes of the training subset, as each task defines them; all: no limit."""
    techniques: Several[Name] | None = None
    """What is trained: b_v, all_biases, full, lora, ..."""
    seeds: Several[Seed] | None = None
    """One run each. A seed decides the subset, the initial head, the order of examples, dropout and
    random masks."""
    training: Overrides | None = None
    """Training settings of these runs. They override what tasks set; what techniques set overrides
    them. Runs that differ from an earlier selection only in these settings are trained and listed;
    tables, figures and scores show the earlier ones."""
    selectors: Distinct[Selector] | None = None
    """Selectors that score these models, tasks and regimes. The runs they need are added:
    all_biases for projection and magnitude, untuned for Fisher and for inert terms."""


class Product(Selection):
    """A selection without absent keys: runs of every combination of its lists."""

    models: Models = restated(Selection, "models")
    tasks: Tasks = restated(Selection, "tasks")
    regimes: Several[Regime] = restated(Selection, "regimes")
    techniques: Several[Name] = restated(Selection, "techniques")
    seeds: Several[Seed] = restated(Selection, "seeds")
    training: Overrides = restated(Selection, "training", Overrides())
    selectors: Distinct[Selector] = restated(Selection, "selectors", list(get_args(Selector)))


class Timing(Strict):
    """Runs to time for Table 2. Each is timed alone on the machine, in a process of its own."""

    model: Name
    """Name of the model."""
    task: Name
    """Name of the task."""
    regime: Regime
    """Size of the training subset."""
    techniques: Several[Name]
    """Techniques to time. The run of the study's first seed is trained again."""
    repeats: Annotated[Count, Field(le=1000)] = 3
    """How often each run is timed."""


class Merging(Strict):
    """Two tasks for Table 3: the biases of each, and their mean, are evaluated on both."""

    model: Name
    """Name of the model."""
    tasks: Annotated[TwoOrMore[Name], Field(max_length=2)]
    """The two tasks."""
    regime: Regime
    """Size of the training subset."""
    technique: Name
    """The technique that tuned the biases."""


class Study(Product):
    """The runs of a study (a product of lists), and the tables and figures to write from them."""

    description: str = ""
    """What the study shows, for readers of the reports."""
    skip_inert: bool = False
    """Skip runs of terms whose measured gradient is zero up to rounding."""
    fuse_techniques: bool = False
    """One job for all techniques of a model, task and regime, instead of one job per technique."""
    tables: Distinct[Table] = ["table1", "selection"]
    """Tables to write."""
    figures: Distinct[Figure] = ["figure1", "figure4", "layers", "curves"]
    """Figures to write."""
    timing: list[Timing] = []
    """Runs to time, each alone (Table 2)."""
    merging: list[Merging] = []
    """Biases to merge (Table 3)."""
    also: list[Selection] = []
    """Further selections. The study runs all of them, each run once."""
    _scopes: dict[str, list[Product]] = PrivateAttr(default_factory=dict)
    _own: OwnDefinitions = PrivateAttr(default_factory=dict)

    @property
    def scopes(self) -> dict[str, list[Product]]:
        """For a union: table or figure -> the selections whose runs it shows."""
        return self._scopes

    @property
    def own(self) -> OwnDefinitions:
        """The models and tasks that the study's file defines (`load_study`)."""
        return self._own

    def used(self) -> dict[Section, list[str]]:
        """The names of all models and tasks that it selects."""
        chosen = self.selections()
        return {s: list(dict.fromkeys(n for c in chosen for n in getattr(c, s))) for s in SECTIONS}

    def selections(self) -> list[Product]:
        """The study's own selection, then those of `also`."""
        names = list(Selection.model_fields)
        own = {name: getattr(self, name) for name in names}
        rest = [{n: v for n in names if (v := getattr(s, n)) is not None} for s in self.also]
        return [Product(**{**own, **given}) for given in ({}, *rest)]


class Union(Strict):
    """All that several studies name: their runs, tables and figures, each once.

    A table or figure is made from the runs of those studies that name it.
    """

    description: str = restated(Study, "description", "")
    union: TwoOrMore[StudyName]
    """The studies, by name or path. None of them may be a union itself."""


def join(members: list[Study], description: str = "") -> Study:
    """One study of all that several select, in their order.

    Raises:
        ValueError: they differ in what holds for a study as a whole, or in a definition.
    """
    first, *rest = [selection for member in members for selection in member.selections()]
    for key in ("skip_inert", "fuse_techniques"):
        if len({getattr(member, key) for member in members}) > 1:
            raise ValueError(f"its studies differ in '{key}', which one study has only once")
    every: dict[str, list[object]] = {key: [] for key in ("tables", "figures", "timing", "merging")}
    for key, found in every.items():
        for item in (item for member in members for item in getattr(member, key)):
            if item not in found:
                found.append(item)
    own = {name: getattr(first, name) for name in Selection.model_fields}
    update = {**own, **every, "also": rest, "description": description}
    both = members[0].model_copy(update=update)
    both._own = joined(member.own for member in members)
    for member in members:
        for name in (*member.tables, *member.figures):
            both._scopes.setdefault(name, []).extend(member.selections())
    return both


def load_study(name: str, root: Path) -> Study:
    """A study by name or path, checked on its own (`study.grid` checks it against params)."""
    path = study_path(name, root)
    data = read_yaml(path)
    if "union" not in data:
        return _study(data, path)
    union = validate(Union, data, path)
    members = []
    for member in union.union:
        inner = study_path(member, root)
        if "union" in (data := read_yaml(inner)):
            raise UserError(f"{path}: union: '{member}' is a union itself; name its studies")
        members.append(_study(data, inner))
    try:
        return join(members, union.description)
    except ValueError as error:
        raise UserError(f"{path}: union: {error}") from None


def _study(data: dict, path: Path) -> Study:
    study = validate(Study, data, path)
    study._own = own_definitions(data, path)
    return study
