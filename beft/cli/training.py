"""Commands that train: `train` and `time`."""

import logging
import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from beft.cli import options as opt
from beft.cli.progress import Progress
from beft.errors import UserError
from beft.store.files import write_file

if TYPE_CHECKING:
    from beft.study.project import Project

log = logging.getLogger(__name__)


def train(
    manifest: Annotated[Path, typer.Argument(help="The pack's manifest, below data/packs.")],
    study: opt.Study = None,
    params: opt.Params = opt.PARAMS,
    device: opt.Device = "auto",
    threads: opt.Threads = None,
    checkpoint_seconds: Annotated[
        float | None,
        typer.Option(min=0, help="Seconds between checkpoints: a killed job repeats no more."),
    ] = None,
) -> None:
    """Train the runs of a pack and write its manifest.

    Finished runs are skipped, and interrupted ones continue from their last checkpoint.
    """
    project = opt.load(params, study)
    pack = project.find(project.packs, "packs", manifest)
    device = set_up(project, device, threads)
    import torch

    from beft.training.pack import run_pack
    from beft.training.state import Interrupted

    seconds = checkpoint_seconds
    if seconds is None:
        seconds = project.params.execution.checkpoint_seconds
    with Progress() as progress:
        update = partial(progress.update, pack.recipes[0].cell())
        try:
            run_pack(project.layout, pack, manifest, device, seconds, update)
        except Interrupted:
            log.warning("stopped; the next start continues from the last checkpoint")
            sys.exit(128 + signal.SIGTERM)
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"{manifest}: out of memory on {device}, even in the smallest possible pass "
                f"({str(error).splitlines()[0]}); use a larger device, or a smaller max_length or "
                "batch_size"
            ) from error


def time(
    timings: Annotated[Path, typer.Argument(help="The file to write, below data/timings.")],
    study: opt.Study = None,
    params: opt.Params = opt.PARAMS,
    device: opt.Device = "auto",
    threads: opt.Threads = None,
) -> None:
    """Measure how long runs take, one at a time, each in its own process.

    Nothing else should run on the machine meanwhile.
    """
    project = opt.load(params, study)
    timed = project.find(project.timings, "timings", timings)
    device = set_up(project, device, threads)
    from beft.training.timing import render_timings

    threads = threads or project.params.execution.threads
    # On SIGTERM this process exits and so ends the one that trains, which would live on otherwise.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    with Progress() as progress:
        update = partial(progress.update, timed.recipes[0].cell())
        write_file(timings, render_timings(project.layout, timed, device, threads, update))


def set_up(project: "Project", device: str, threads: int | None) -> str:
    """Prepares this process to compute, and returns the torch device to use."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # jobs read the mirror only
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import torch

    from beft.operations.gpus import device_of

    torch.set_num_threads(threads or project.params.execution.threads)
    return device_of(device)
