"""Load a project from disk: params.yaml, one of its studies, and everything that they name."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar, get_args

from beft.errors import UserError, shortened
from beft.study import measurements, studies
from beft.study import params as P
from beft.study.cell import Cell
from beft.study.definitions import read_params
from beft.study.fields import check_for_shells, nearest
from beft.study.grid import grid, packs
from beft.study.identity import digest
from beft.study.layout import Folder, Layout
from beft.study.recipe import Pack, Recipe
from beft.study.resolve import resolve_task
from beft.tasks.words import Plain
from beft.techniques import TECHNIQUES

Made = TypeVar("Made")


@dataclass(frozen=True)
class Project:
    """One study of one project."""

    root: Path  # the folder of params.yaml; `data/`, `reports/` and `studies/` lie in it
    params: P.Params  # with the definitions that the study uses, its own among them
    study: studies.Study
    given: str  # the study's name in studies/, or its path

    @property
    def name(self) -> str:
        """The name that reports show."""
        return Path(self.given).stem

    @cached_property
    def layout(self) -> Layout:
        return Layout(self.root)

    @cached_property
    def recipes(self) -> list[Recipe]:
        return grid(self.params, self.study, self.root, self.name)

    @cached_property
    def packs(self) -> dict[str, Pack]:
        """Manifest path (below data/packs) -> pack."""
        return {pack.manifest(): pack for pack in packs(self.recipes, self.study)}

    @cached_property
    def cells(self) -> dict[str, Cell]:
        """Path of scores (below data/scores) -> what is scored there."""
        groups: dict[str, dict[tuple, Recipe]] = {}
        further: dict[str, list[Recipe]] = {}
        for recipe in self.recipes:
            if recipe.technique == "all_biases" or TECHNIQUES[recipe.technique].measures:
                group = groups.setdefault(recipe.cell(), {})
                # Of runs that differ in their settings alone, the study's first are scored.
                first = group.setdefault((recipe.technique, recipe.seed), recipe)
                if first is not recipe and recipe.technique == "all_biases":
                    further.setdefault(recipe.cell(), []).append(recipe)
        cells = [
            Cell(tuple(group.values()), selectors, tuple(further.get(key, ())))
            for key, group in groups.items()
            if (selectors := self._selectors(*key.split("/")))
        ]
        return {cell.scores(): cell for cell in cells}

    def by_cell(self) -> dict[str, list[Recipe]]:
        """`model/task/regime` -> its runs."""
        groups: dict[str, list[Recipe]] = {}
        for recipe in self.recipes:
            groups.setdefault(recipe.cell(), []).append(recipe)
        return groups

    def _selectors(self, model: str, task: str, regime: str) -> tuple[str, ...]:
        """The selectors of all selections that name this cell; the study's own come first."""
        wanted = {
            selector
            for chosen in self.study.selections()
            if model in chosen.models and task in chosen.tasks and regime in chosen.regimes
            for selector in chosen.selectors
        }
        ordered = dict.fromkeys((*self.study.selectors, *get_args(studies.Selector)))
        return tuple(selector for selector in ordered if selector in wanted)

    @cached_property
    def timings(self) -> dict[str, measurements.Timed]:
        """Path of seconds (below data/timings) -> what is timed there."""
        return measurements.timed(self.study, self.recipes, f"study '{self.name}'")

    @cached_property
    def merges(self) -> dict[str, measurements.Merged]:
        """Path of results (below data/merges) -> what is merged there."""
        return measurements.merged(self.study, self.recipes, f"study '{self.name}'")

    @cached_property
    def subsets(self) -> dict[str, Recipe]:
        """Path of an index file (below data/subsets) -> a recipe that uses it."""
        return {r.subset_path(): r for r in self.recipes}

    def sources(self) -> dict[str, str]:
        """Folder of a source (below data/sources) -> its task."""
        return {r.source_path(): r.task["name"] for r in self.recipes}

    def models(self) -> dict[str, str]:
        """Marker of a model (below data/models) -> its alias."""
        return {r.model_path(): r.model["alias"] for r in self.recipes}

    def pack_of(self, recipe: Recipe) -> str:
        """The manifest that covers a run."""
        return self._owner[recipe.digest]

    @cached_property
    def _owner(self) -> dict[str, str]:
        return {r.digest: path for path, pack in self.packs.items() for r in pack.recipes}

    @cached_property
    def fingerprint(self) -> str:
        """Changes when the study's reports could: its runs, their order, its tables and figures."""
        study = self.study.model_dump(mode="json")
        params = self.params.model_dump(
            mode="json",
            exclude={"study": True, "execution": True, "models": {"__all__": {"parameters"}}},
        )
        scopes = {
            name: [chosen.model_dump(mode="json") for chosen in selections]
            for name, selections in self.study.scopes.items()
        }
        return digest([self.name, study, scopes, params, [r.digest for r in self.recipes]])

    def find(self, made: Mapping[str, Made], folder: Folder, path: Path) -> Made:
        """Finds what this study makes in a file.

        Args:
            made: everything that it makes in the folder of `data/`, by path: `packs`, `cells`, ...

        Raises:
            UserError: when the study makes no such file: params.yaml has changed meanwhile.
        """
        base, file = self.layout.folder(folder).resolve(), path.resolve()
        key = file.relative_to(base).as_posix() if file.is_relative_to(base) else ""
        if key not in made:
            raise UserError(
                f"{path}: study '{self.name}' does not make this file; if params.yaml or the "
                "study was changed while a workflow ran, start the workflow again"
            )
        return made[key]


def load(params: Path, study: str | None = None) -> Project:
    """Loads the project of a params.yaml, with the study it names or another one.

    Raises:
        UserError: one clear line, see `params` and `study.grid`.
    """
    given = read_params(params)
    root = params.resolve().parent
    name = study or given.outline.study
    chosen = studies.load_study(name, root)
    project = Project(root, given.define(chosen.used(), chosen.own), chosen, name)
    _check_definitions(project)
    return project


def load_for_workflow(params: Path, config: Plain) -> Project:
    """Loads the project that a Snakemake configuration names.

    Raises:
        UserError: when the configuration holds anything but a `study`, since a setting from the
            command line would leave no trace in any file; or when a shell could take a part of the
            study's path for a command.
    """
    for key in config:
        if key != "study":
            raise UserError(
                f"--config {shortened(key)}: only 'study' can be set on the command line; "
                f"change {params} or write a study file"
            )
    project = load(params, str(config["study"]) if "study" in config else None)
    check_for_shells("study", project.given)
    return project


def _check_definitions(project: Project) -> None:
    """Checks that definitions refer to definitions that exist."""
    params = project.params
    for task, definition in params.tasks.items():
        try:
            resolve_task(task, definition)
        except UserError as error:
            raise error.within(params.file("tasks", task)) from None
        where = params.place("tasks", task)
        for place, settings in ((where, definition), (f"{where}.decoder", definition.decoder)):
            _check_names(settings or P.TaskSettings(), params.known("models"), place)
    # Resolved here, so that mistakes in the study show at once.
    assert None not in (project.recipes, project.timings, project.merges)


def _check_names(settings: P.TaskSettings, models: list[str], place: str) -> None:
    """Checks that the models and techniques that have settings of their own exist."""
    for kind, known in (("models", models), ("techniques", list(TECHNIQUES))):
        for name in getattr(settings, kind):
            if name not in known:
                raise UserError(f"{place}.{kind}: '{name}' unknown; {nearest(name, known)}")
