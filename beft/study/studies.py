"""The typed model of a study: what to run, and which tables and figures to write."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PrivateAttr

from beft.errors import UserError
from beft.study.fields import NAME, Count, Name, Regime, Seed, Strict, StudyName, list_of, nearest
from beft.study.params import SELECTORS, Overrides, validate
from beft.study.yaml_file import read_yaml

TABLES = (
    *("table1", "table1_last", "table2", "table3", "table4", "table5", "table6"),
    *("selection", "selectors", "settled", "comparisons", "inert", "ranks", "extension"),
)
FIGURES = (
    *("figure1", "figure4", "layers", "curves", "extension", "selectors", "settled"),
    *("zero_shot", "cost"),
)


class Selection(Strict):
    """Further runs of a study: a product of lists; a list that is absent is the study's own.

    Attributes:
        training: settings for these runs, in place of the study's. Runs that differ from those of
            an earlier selection in nothing else are trained and listed, but tables, figures and
            scores show the earlier ones.
        selectors: which scores these models, tasks and regimes get.
    """

    models: list_of(Name) | None = None
    tasks: list_of(Name) | None = None
    regimes: list_of(Regime) | None = None
    techniques: list_of(Name) | None = None
    seeds: list_of(Seed) | None = None
    training: Overrides | None = None
    selectors: list_of(Literal[SELECTORS], least=0) | None = None


class Timing(Strict):
    """Runs to time, each alone in a process on a machine that does nothing else (Table 2).

    Attributes:
        techniques: whose first seed is trained for this, beside the runs that the study keeps.
        repeats: how often each of them is timed.
    """

    model: Name
    task: Name
    regime: Regime
    techniques: list_of(Name)
    repeats: Count = 3


class Merging(Strict):
    """Two tasks whose tuned biases are tried on each other, and averaged (Table 3)."""

    model: Name
    tasks: Annotated[list_of(Name, least=2), Field(max_length=2)]
    regime: Regime
    technique: Name


class Study(Strict):
    """A selection of what to run, and which tables and figures to write.

    Attributes:
        training: settings for every run of this study, unless its technique has its own.
        selectors: which scores to compute; they bring the runs they need along (`all_biases`
            for projection and magnitude, `untuned` for Fisher).
        skip_inert: leave out runs of terms whose measured gradient is zero up to rounding.
        fuse_techniques: one job for all techniques of a (model, task, regime), rather than one
            job each.
        timing: which of the runs to time, each alone.
        merging: which of the biases to try on another task, and to average.
        also: further selections; what is run is all of them, each run once.
    """

    description: str = ""
    models: list_of(Name)
    tasks: list_of(Name)
    regimes: list_of(Regime)
    techniques: list_of(Name)
    seeds: list_of(Seed)
    training: Overrides = Overrides()
    selectors: list_of(Literal[SELECTORS], least=0) = list(SELECTORS)
    skip_inert: bool = False
    fuse_techniques: bool = False
    tables: list_of(Literal[TABLES], least=0) = ["table1", "selection"]
    figures: list_of(Literal[FIGURES], least=0) = ["figure1", "figure4", "layers", "curves"]
    timing: list[Timing] = []
    merging: list[Merging] = []
    also: list[Selection] = []
    _scopes: dict[str, list[Selection]] = PrivateAttr(default_factory=dict)

    @property
    def scopes(self) -> dict[str, list[Selection]]:
        """Of a union: table or figure -> the selections that it is made from."""
        return self._scopes

    def selections(self) -> list[Selection]:
        """All of it as products of lists, none of them absent."""
        names = list(Selection.model_fields)
        own = {name: getattr(self, name) for name in names}
        rest = [{n: v for n in names if (v := getattr(s, n)) is not None} for s in self.also]
        return [Selection(**{**own, **given}) for given in ({}, *rest)]


class Union(Strict):
    """A study that is several others in one: runs, tables and all else that they name, each once.

    A table or figure is made from the runs of those studies that name it.

    Attributes:
        union: the studies, by name or path; none of them a union itself.
    """

    description: str = ""
    union: list_of(StudyName, least=2)


def join(members: list[Study], description: str = "") -> Study:
    """One study of all that several select, in their order.

    Raises:
        ValueError: they differ in what holds for a study as a whole.
    """
    first, *rest = [selection for member in members for selection in member.selections()]
    for key in ("skip_inert", "fuse_techniques"):
        if len({getattr(member, key) for member in members}) > 1:
            raise ValueError(f"its studies differ in '{key}', which one study has only once")
    every: dict[str, list] = {key: [] for key in ("tables", "figures", "timing", "merging")}
    for key, found in every.items():
        for item in (item for member in members for item in getattr(member, key)):
            if item not in found:
                found.append(item)
    own = {name: getattr(first, name) for name in Selection.model_fields}
    update = {**own, **every, "also": rest, "description": description}
    joined = members[0].model_copy(update=update)
    for member in members:
        for name in (*member.tables, *member.figures):
            joined._scopes.setdefault(name, []).extend(member.selections())
    return joined


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
    """A study by name or path, checked on its own (`study.grid` checks it against params)."""
    path = study_path(name, root)
    data = read_yaml(path)
    if "union" not in data:
        return validate(Study, data, path)
    union = validate(Union, data, path)
    members = []
    for member in union.union:
        inner = study_path(member, root)
        if "union" in (data := read_yaml(inner)):
            raise UserError(f"{path}: union: '{member}' is a union itself; name its studies")
        members.append(validate(Study, data, inner))
    try:
        return join(members, union.description)
    except ValueError as error:
        raise UserError(f"{path}: union: {error}") from None
