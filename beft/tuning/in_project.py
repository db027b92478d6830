"""`tune` inside a project: its race as a study, beside what the project has already."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from beft.data.mirror.fetch import keep_model
from beft.errors import UserError, shortened
from beft.study import params as P
from beft.study.definitions import Definitions, Given, read_params
from beft.study.fields import NAME
from beft.study.grid import grid
from beft.study.project import load
from beft.study.settings import Defaults
from beft.study.study_files import SUFFIX
from beft.tuning.base_model import NamedModel
from beft.tuning.candidates import SIMPLEST
from beft.tuning.examples import Meaning
from beft.tuning.place import Place
from beft.tuning.plan import Plan
from beft.tuning.project import write_if_new, write_step
from beft.tuning.subject import Stage, Subject

LONGEST = 60  # letters of a study's name: names of tasks begin with it


def study_place(params: Path, study: str) -> Place:
    """The place of a study in a project.

    Raises:
        UserError: there is no project, or the study's name is none.
    """
    if not params.is_file():
        raise UserError(
            f"--study {shortened(study)}: {params} does not exist; a project is a folder with "
            "params.yaml, Snakefile and studies/: call this in one, or leave --study out"
        )
    if not NAME.fullmatch(study) or len(study) > LONGEST or study.endswith((SUFFIX, ".yml")):
        raise UserError(
            f"--study {shortened(study)}: not a name for a study (at most {LONGEST} letters, "
            "digits, '.', '_' and '-', and no suffix)"
        )
    return Place(params.resolve(), study)


def define(
    place: Place, base: NamedModel, meaning: Meaning, metric: str, max_length: int, folds: int
) -> Subject:
    """What the studies of a call are of; makes a folder of its own a project.

    Raises:
        UserError: a project has models, tasks or studies of the names that the call will write.
    """
    kind = {"kind": "decoder"} if meaning.prompt else {}
    subject = Subject(place, kind | _model(base, place), meaning, metric, max_length, folds)
    if not place.study:
        write_if_new(place.params, subject.params())
        return subject
    given = read_params(place.params)
    _check_new(subject, given)
    if "hub" in subject.model:
        keep_model(place.root, subject.alias, P.Model(**subject.model), base.folder)
    return replace(subject, restated=_restated(given.outline, subject.training))


def _model(base: NamedModel, place: Place) -> dict[str, Any]:
    """Where a model is: in a project its id on the hub, if its revision is known."""
    if place.study and base.hub and base.revision:
        return {"hub": base.hub, "revision": base.revision}
    inside = bool(place.study) and base.folder.is_relative_to(place.root)
    return {"path": str(base.folder.relative_to(place.root) if inside else base.folder)}


def _restated(params: P.Params, training: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What holds for all runs, for those techniques for which params.yaml sets some of it."""
    found = {
        name: {k: v for k, v in training.items() if getattr(given, k) is not None}
        for name, given in params.techniques.items()
        if name in SIMPLEST
    }
    return {name: settings for name, settings in found.items() if settings}


def _check_new(subject: Subject, given: Given) -> None:
    """Checks that the project has nothing of the names that a call will write."""
    place = subject.place
    for section, names in (("models", [subject.alias]), ("tasks", subject.tasks)):
        for name in names:
            if name in given.content[section]:
                raise UserError(
                    f"--study {place.study}: {place.params} defines {section}.{name}, which this "
                    "study is to define; give the study another name"
                )
    if not place.plan.is_file():
        for path in (place.race, place.last):
            if path.exists():
                raise UserError(
                    f"--study {place.study}: {path} exists and is not of `beft tune`, or its plan "
                    f"({place.plan}) is lost; give the study another name, or remove that file"
                )


def write_race(subject: Subject, plan: Plan, kind: str) -> int:
    """Writes the study of all runs of which the race may be, and returns how many they are.

    The second round is of candidates that the first one chooses. So the study has all of them in
    both rounds.

    Raises:
        UserError: as `publish`.
    """
    every = plan.every(kind)
    stages = [subject.fold(k, plan.epochs, every) for k in range(plan.folds)]
    stages += [subject.fold(k, plan.first_epochs, every) for k in range(plan.first_folds)]
    study = publish(subject, subject.place.race, stages)
    return len(load(subject.place.params, str(study)).recipes)


def publish(subject: Subject, path: Path, stages: Sequence[Stage]) -> Path:
    """Writes a study to studies/, unless it is there, and returns its path.

    Raises:
        UserError: another study is there; or settings of params.yaml would change its runs.
    """
    content = subject.study(stages)
    if not subject.place.study:
        write_if_new(path, content)
        return path
    if path.exists() and path.read_bytes() != content:
        raise UserError(
            f"{path}: not what `beft tune` wrote for these rows and options; restore it, or give "
            "the study another name"
        )
    draft = write_step(subject, path.stem, stages)
    project = load(subject.place.params, str(draft))
    bare = P.Params(
        study="bare",
        training=Defaults(**subject.training),
        techniques={},
        **{s: getattr(project.params, s) for s in Definitions.model_fields},
    )
    for found, meant in zip(
        project.recipes, grid(bare, project.study, project.root, path.stem), strict=False
    ):
        _check_same(subject, found.technique, found.training, meant.training)
    write_if_new(path, content)
    return path


def _check_same(subject: Subject, technique: str, found: dict, meant: dict) -> None:
    for key in sorted({*found, *meant}):
        if found.get(key) != meant.get(key):
            raise UserError(
                f"{subject.place.params}: sets {key} {found.get(key)} for {technique}, which "
                f"`beft tune` runs with {meant.get(key, 'none')}; take it out of 'training' or "
                f"'techniques' there (tasks may set it), or leave --study out"
            )
