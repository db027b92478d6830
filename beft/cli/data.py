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
    from beft.data.mirror.transfers import Job, Transfer
    from beft.study.params import Model
    from beft.study.project import Project

GB = 1e9
FEW = 32  # tokens; with so many, there is room beside the special tokens of any model


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
    folders: dict[str, Path] = {}
    jobs = _jobs(project, tasks, models, folders)
    for key in found.refused:
        del jobs[key]
    with Progress(of_bytes=True) as progress:
        failures = fetch_all(jobs, progress.update)
    unusable = _mark(project, folders)
    complain([*failures, *unusable])
    return not failures and not unusable and not found.refused


def _jobs(
    project: "Project", tasks: list[str], models: list[str], folders: dict[str, Path]
) -> "dict[str, Job]":
    """What fetches each dataset and model; those of models put their folders into `folders`."""
    from beft.data.mirror.fetch import fetch_model
    from beft.data.sources import fetch_task
    from beft.study.recipe import kind_of

    root, given = project.root, project.params

    def model_job(name: str, transfer: "Transfer") -> Path:
        folders[name] = fetch_model(root, name, given.models[name], transfer)
        return folders[name]

    # Models first: they take longest.
    jobs: dict[str, Job] = {f"models.{name}": partial(model_job, name) for name in models}
    for name in tasks:
        kinds = {kind_of(run.model) for run in project.recipes if run.task["name"] == name}
        jobs[f"tasks.{name}"] = partial(fetch_task, root, name, given.tasks[name], kinds=kinds)
    return jobs


def _mark(project: "Project", folders: dict[str, Path]) -> list[UserError]:
    """Checks models that have been fetched, and marks them; returns what is wrong with the others.

    Not in the threads that fetch: transformers is imported, and sets global states.
    """
    from beft.data.mirror.fetch import mark_model

    failures = []
    for marker, name in project.models().items():
        if name in folders:
            path, model = project.layout.folder("models") / marker, project.params.models[name]
            try:
                mark_model(project.root, folders[name], name, model, path, _check_usable)
                _check_lengths(project, folders[name], name)
            except UserError as error:
                failures.append(error)
    return failures


def _check_usable(folder: Path, label: str, model: "Model") -> None:
    from beft.engine.usable import check_usable  # imports torch, which takes seconds

    check_usable(folder, label, model)


def _check_lengths(project: "Project", folder: Path, name: str) -> None:
    """Checks that no run of an encoder cuts its texts to nothing."""
    from beft.study.recipe import kind_of

    runs = [
        r for r in project.recipes if r.model["alias"] == name and kind_of(r.model) == "encoder"
    ]
    short = {
        (r.task["name"], r.training["max_length"]): r.task
        for r in runs
        if r.training["max_length"] < FEW
    }
    if short:
        from beft.data.encoded import check_length
        from beft.models.loading import load_tokenizer

        tokenizer = load_tokenizer(folder, f"models.{name}: {folder}")
        for (_, length), task in short.items():
            try:
                check_length(task, tokenizer, length)
            except UserError as error:
                raise error.within(f"models.{name}") from None


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
