"""Commands that bring data: `fetch` and `subsample`."""

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from beft.cli import options as opt
from beft.cli.console import complain
from beft.cli.progress import Progress
from beft.errors import UserError

if TYPE_CHECKING:
    from beft.study.params import Model
    from beft.study.project import Project


def fetch(
    task: Annotated[
        list[str] | None, typer.Option(help="Fetch the dataset of this task (repeatable).")
    ] = None,
    model: Annotated[list[str] | None, typer.Option(help="Fetch this model (repeatable).")] = None,
    study: opt.Study = None,
    params: opt.Params = opt.PARAMS,
    check: Annotated[
        bool,
        typer.Option("--check", help="Fetch nothing; only list what is missing or not as pinned."),
    ] = False,
) -> None:
    """Fetch datasets and models into data/, from the hub, local files or the demo.

    Without --task and --model, it fetches everything that the study needs. An interrupted fetch
    continues where it stopped.
    """
    from beft.study.fields import nearest

    project = opt.load(params, study)
    all_tasks, all_models = list(project.sources().values()), list(project.models().values())
    tasks, models = (task or [], model or []) if task or model else (all_tasks, all_models)
    for kind, names, known in (("task", tasks, all_tasks), ("model", models, all_models)):
        for name in names:
            if name not in known:
                hint = nearest(name, known)
                raise UserError(f"{kind} '{name}' is not part of study '{project.name}'; {hint}")
    failures = _check(project, tasks, models) if check else _fetch(project, tasks, models)
    complain(failures)
    if failures:
        sys.exit(2)


def _check(project: "Project", tasks: list[str], models: list[str]) -> list[str]:
    """Looks for datasets and models on disk; returns a line for each that is missing."""
    from beft.data.mirror.stock import stock

    found = stock(project, tasks, models)
    if not found.missing:
        print(f"{found.there} datasets and models are as pinned ({found.size / 1e9:.3f} GB)")
    return found.missing


def _fetch(project: "Project", tasks: list[str], models: list[str]) -> list[str]:
    """Fetches datasets and models; returns a line for each that failed."""
    from beft.data.mirror.fetch import fetch_model
    from beft.data.mirror.transfers import Job, fetch_all
    from beft.data.sources import fetch_task
    from beft.study.recipe import kind_of

    root, given, folder = project.root, project.params, project.layout.folder("models")
    jobs: dict[str, Job] = {}
    markers = {marker: name for marker, name in project.models().items() if name in models}
    if not all((folder / marker).is_file() for marker in markers):
        # Threads that import transformers at the same time would find it half made.
        import beft.engine.usable  # noqa: F401
    for marker, name in markers.items():  # models first: they take longest
        model = given.models[name]
        jobs[f"models.{name}"] = partial(
            fetch_model, root, name, model, folder / marker, _check_usable
        )
    for name in tasks:
        kinds = {kind_of(run.model) for run in project.recipes if run.task["name"] == name}
        jobs[f"tasks.{name}"] = partial(fetch_task, root, name, given.tasks[name], kinds=kinds)
    with Progress(of_bytes=True) as progress:
        return fetch_all(jobs, progress.update)


def _check_usable(folder: Path, label: str, model: "Model") -> None:
    from beft.engine.usable import check_usable  # imports torch, which takes seconds

    check_usable(folder, label, model)


def subsample(
    subset: Annotated[Path, typer.Argument(help="The index file to write, below data/subsets.")],
    study: opt.Study = None,
    params: opt.Params = opt.PARAMS,
) -> None:
    """Draw the training rows of a task, regime and seed."""
    from beft.data.subsets import write_subset

    project = opt.load(params, study)
    recipe = project.find(project.subsets, "subsets", subset)
    write_subset(project.layout.source(recipe), recipe, subset)
