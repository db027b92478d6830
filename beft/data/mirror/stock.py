"""Check which datasets and models of a study are on disk, without network."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from beft.data.mirror.lookup import dataset_piece, find, lack, locate, model_piece
from beft.data.mirror.origins import changed_origin
from beft.errors import UserError
from beft.models.pretrained import check_checkpoint
from beft.store.inputs import marker_flaw, source_flaw
from beft.study.grid import model_source, task_source
from beft.study.identity import model_files
from beft.study.project import Project


@dataclass(frozen=True)
class Stock:
    """The datasets and models that a study's jobs read, by their keys in params.yaml."""

    there: dict[str, int]  # the bytes of each that is there
    lacking: dict[str, str]  # one line for each that is missing or not as pinned

    @property
    def missing(self) -> list[str]:
        return list(self.lacking.values())


def stock(project: Project, tasks: Iterable[str], models: Iterable[str]) -> Stock:
    """Looks for the datasets of tasks and the models of aliases.

    Files are checked against the mirror's manifest; an unchanged file is hashed only once.
    """
    sources = {task: path for path, task in project.sources().items()}
    markers = {alias: marker for marker, alias in project.models().items()}
    there: dict[str, int] = {}
    lacking: dict[str, str] = {}
    for kind, look, names in (
        ("tasks", lambda name: _task_files(project, name, sources[name]), tasks),
        ("models", lambda alias: _model_files(project, alias, markers[alias]), models),
    ):
        for name in names:
            try:
                there[f"{kind}.{name}"] = sum(path.stat().st_size for path in look(name))
            except UserError as error:
                lacking[f"{kind}.{name}"] = str(error)
    return Stock(there, lacking)


def missing(project: Project) -> list[str]:
    """One line for each dataset and model that a study's jobs would not find."""
    tasks = dict.fromkeys(project.sources().values())
    models = dict.fromkeys(project.models().values())
    return stock(project, tasks, models).missing


def _task_files(project: Project, name: str, source: str) -> list[Path]:
    task = project.params.tasks[name]
    normalised = project.layout.folder("sources") / source
    if changed := changed_origin(project.root, name, task, normalised):
        raise UserError(changed)
    if normalised.is_dir() and (problem := source_flaw(normalised)):
        raise UserError(f"{normalised}: {problem}; run 'beft fetch --task {name}' again")
    if task.hub is not None:
        piece = dataset_piece(name, task, task_source(name, task, project.root)["splits"])
        folder = find(project.root, piece)
        if folder is not None:
            return [folder / name for name in piece.needed]
        if not normalised.is_dir():
            raise UserError(f"{lack(project.root, piece)}; {piece.remedy(_chosen(project))}")
        return sorted(normalised.iterdir())
    folder = project.root / (task.path or "")  # exists: recipes hold digests of its files
    return [] if task.demo else sorted(p for p in folder.resolve().iterdir() if p.is_file())


def _model_files(project: Project, alias: str, name: str) -> list[Path]:
    model, root = project.params.models[alias], project.root
    if model.path is not None:
        folder = (root / model.path).resolve()
    else:
        piece = model_piece(alias, model)
        found = find(root, piece)
        if found is None:
            raise UserError(f"{lack(root, piece)}; {piece.remedy(_chosen(project))}")
        folder = found
    check_checkpoint(folder, f"models.{alias}: {folder}")
    marker = project.layout.folder("models") / name
    if not marker.is_file():
        return model_files(folder)
    if problem := marker_flaw(marker, model_source(alias, model, root)):
        raise UserError(f"{marker}: {problem}")
    return model_files(locate(root, marker))


def _chosen(project: Project) -> str:
    """The study that a command has to name; empty for the one of params.yaml."""
    return "" if project.params.study == project.name else project.name
