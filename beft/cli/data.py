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
    from beft.data.mirror.order import Order
    from beft.data.mirror.transfers import Job
    from beft.study.params import Model
    from beft.study.project import Project

GB = 1e9


def fetch(
    task: Annotated[
        list[str] | None, typer.Option(help="Fetch the dataset of this task (repeatable).")
    ] = None,
    model: Annotated[list[str] | None, typer.Option(help="Fetch this model (repeatable).")] = None,
    study: opt.Study = None,
    params: opt.Params = opt.PARAMS,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Fetch nothing; list sizes, and what is missing or not as pinned."
        ),
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
    if not (_check if check else _fetch)(project, tasks, models):
        sys.exit(2)


def _check(project: "Project", tasks: list[str], models: list[str]) -> bool:
    """Lists datasets and models with their sizes; returns whether all are there."""
    from beft.data.mirror.hub import reachable
    from beft.data.mirror.stock import stock
    from beft.data.mirror.survey import survey

    found = stock(project, tasks, models)
    size = sum(found.there.values())
    print(f"{len(found.there)} datasets and models are as pinned ({size / GB:.3f} GB)")
    asked = survey(project, found.lacking) if found.lacking and reachable() else None
    if asked is not None:
        print(asked)
    for key, there in found.there.items():
        print(f"{key}: {there / GB:.3f} GB, there")
    for key in found.lacking:
        order = asked.orders.get(key) if asked is not None else None
        print(f"{key}: {_amount(order) if order else 'size not known'}, missing")
    refused = asked.refused if asked is not None else {}
    for key, line in found.lacking.items():
        also = refused.get(key, line)
        complain([line if also == line else f"{line}; but {also}"])
    return not found.lacking


def _amount(order: "Order") -> str:
    return f"{order.size / GB:.3f} GB" + (f" ({order.note})" if order.note else "")


def _fetch(project: "Project", tasks: list[str], models: list[str]) -> bool:
    """Fetches datasets and models, after saying how much that is; returns whether all succeeded."""
    from beft.data.mirror.stock import stock
    from beft.data.mirror.survey import check_room, survey
    from beft.data.mirror.transfers import fetch_all

    found = survey(project, stock(project, tasks, models).lacking)
    complain(found.refused.values())  # at once, before anything is fetched
    if found.download:
        print(found, flush=True)
    for key, order in found.orders.items():
        if order.note:
            print(f"{key}: {_amount(order)}", flush=True)
    check_room(project, found)
    jobs = _jobs(project, tasks, models)
    for key in found.refused:
        del jobs[key]
    with Progress(of_bytes=True) as progress:
        failures = fetch_all(jobs, progress.update)
    complain(failures)
    return not failures and not found.refused


def _jobs(project: "Project", tasks: list[str], models: list[str]) -> "dict[str, Job]":
    """What fetches each dataset and model."""
    from beft.data.mirror.fetch import fetch_model
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
    return jobs


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
