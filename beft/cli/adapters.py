"""Commands that use tuned biases elsewhere: `export`, `merge` and `evaluate-merge`."""

import os
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from beft.cli import options as opt
from beft.cli.progress import Progress
from beft.cli.training import set_up
from beft.errors import UserError
from beft.store.files import write_file


def export(
    digest: Annotated[
        str, typer.Argument(help="The digest of a run of the study, or its first characters.")
    ],
    to: opt.To,
    epoch: opt.Epoch = "best",
    study: opt.Study = None,
    params: opt.Params = opt.PARAMS,
) -> None:
    """Write a run's tuned biases and head as a BEFT adapter that PEFT loads."""
    from beft.adapters.export import export as export_run

    os.environ["HF_HUB_OFFLINE"] = "1"  # reads the mirror only
    recipe = export_run(opt.load(params, study), digest, to, epoch)
    print(f"{to}: {recipe.folder()}, {epoch} epoch, as a BEFT adapter for PEFT")


def merge(
    digests: Annotated[
        list[str],
        typer.Argument(help="The digests of two or more runs, or their first characters."),
    ],
    to: opt.To,
    weights: Annotated[
        str | None, typer.Option(help="A weight for each run, such as 0.7,0.3; default: all equal.")
    ] = None,
    epoch: opt.Epoch = "best",
    study: opt.Study = None,
    params: opt.Params = opt.PARAMS,
    device: opt.Device = "auto",
    threads: opt.Threads = None,
) -> None:
    """Average the tuned biases of several runs, and write a BEFT adapter for each task."""
    project = opt.load(params, study)
    try:
        shares = None if weights is None else [float(each) for each in weights.split(",")]
    except ValueError:
        raise UserError(f"--weights: '{weights}' are no numbers; give them as 0.7,0.3") from None
    device = set_up(project, device, threads)
    from beft.adapters.merge import merge as merge_runs

    merged = merge_runs(project, digests, to, shares, epoch, device)
    for run in merged["runs"]:
        print(f"{to / run['folder']}: run {run['digest']}, weight {run['weight']:.4g}")
    for row in merged["scores"]:
        own, mean = ("undefined" if v is None else f"{v:.4f}" for v in (row["own"], row["merged"]))
        measured = f"{row['task']} {row['split']} {row['metric']}"
        print(f"{measured}: merged {mean}, its own bias {own} (run {row['digest']})")
    print(f"weights were divided by their sum; angles between the biases: {to / 'merge.json'}")


def evaluate_merge(
    merges: Annotated[Path, typer.Argument(help="The file to write, below data/merges.")],
    study: opt.Study = None,
    params: opt.Params = opt.PARAMS,
    device: opt.Device = "auto",
    threads: opt.Threads = None,
) -> None:
    """Evaluate the biases of two tasks, and their mean, on both tasks (table 3)."""
    project = opt.load(params, study)
    merged = project.find(project.merges, "merges", merges)
    device = set_up(project, device, threads)
    from beft.adapters.evaluate_merge import render_merge

    with Progress() as progress:
        update = partial(progress.update, merged.couples[0].tuned[0].model["alias"])
        write_file(merges, render_merge(project, merged, device, update))
