"""Seconds of runs, each in a new process, in alternating order (Table 2)."""

import logging
import math
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext

import numpy as np
import torch

from beft.code_identity import code_digest
from beft.engine.base import Engine, Examples
from beft.engine.dispatch import engine, packs_together, serves
from beft.errors import UserError
from beft.store.files import to_json
from beft.study.layout import Layout
from beft.study.measurements import SECONDS, TIMING_VERSION, Timed
from beft.study.recipe import Recipe
from beft.training import provenance
from beft.training.inputs import current_inputs
from beft.training.loop import step_seed, train
from beft.training.shared import Loader
from beft.training.state import Control, Data

log = logging.getLogger(__name__)

WARM_STEPS = 2


def render_timings(
    layout: Layout,
    timed: Timed,
    device: str = "cpu",
    threads: int = 1,
    progress: Callable[[int, int, str], None] = lambda done, total, text: None,
) -> bytes:
    """Trains every run `timed.repeats` times and returns the seconds as JSON.

    The techniques take turns (ABC ABC), so that a machine that slows down affects all of them.
    Every run has a new process, which shares nothing with the others but imported modules.

    Raises:
        UserError: when an input is missing, or a run cannot be trained.
    """
    for recipe in timed.recipes:
        current_inputs(layout, recipe)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["beft.training.timing", "transformers"])
    turns = list(product(range(1, timed.repeats + 1), timed.recipes))
    runs = []
    for done, (repeat, recipe) in enumerate(turns):
        name = f"{recipe.technique}, repeat {repeat} of {timed.repeats}"
        progress(done, len(turns), name)
        found = _alone(context, name, layout, recipe, device, threads)
        log.info("%s: %.2f s, of which steps %.2f s", name, *(found[m] for m in SECONDS))
        runs.append({"digest": recipe.digest, "repeat": repeat, **found})
    return to_json({"version": TIMING_VERSION, "code": code_digest(), "runs": runs})


def _alone(
    context: ForkServerContext, name: str, layout: Layout, recipe: Recipe, device: str, threads: int
) -> dict[str, object]:
    """The result of `measure`, called in a new process."""
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(
        target=_send, args=(sender, layout, recipe, device, threads), daemon=True
    )
    process.start()
    sender.close()  # the process holds the only other copy: when it ends, so does the pipe
    try:
        found = receiver.recv()
    except EOFError:
        process.join()
        raise UserError(
            f"{name}: its process ended with status {process.exitcode} before it had a result; "
            "its messages are above"
        ) from None
    finally:
        process.terminate()
        process.join()
    if isinstance(found, UserError):
        raise found
    return found


def _send(sender: Connection, layout: Layout, recipe: Recipe, device: str, threads: int) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        sender.send(measure(layout, recipe, device, threads))
    except UserError as error:
        sender.send(error)


def _end_with_parent() -> None:
    """However the parent ends, even killed or while it starts this process."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def measure(layout: Layout, recipe: Recipe, device: str, threads: int) -> dict[str, object]:
    """Trains a run once, after a warm-up that changes nothing, and writes no file.

    Returns:
        `seconds` of the whole fine-tune, with the evaluation after every epoch, as the paper's run
        time; `train_seconds` of its steps; `status` and `best` metric of the run; `device`,
        `hardware` and `threads`. Loading of data and model is not counted.
    """
    torch.set_num_threads(threads)
    loader = Loader(layout, device)
    model, data = loader.model(recipe), loader.data(recipe)
    flat = packs_together(recipe) and serves(model, device)
    _warm_up(engine(model, [recipe], [data.train], device, flat), recipe, data)
    steps: list[float] = []
    control = Control(None, around_step=lambda: _clocked(steps, device))
    _wait(device)
    started = time.perf_counter()
    used = engine(model, [recipe], [data.train], device, flat)
    try:
        (state,) = train(used, [data], control)
        _wait(device)
        seconds = time.perf_counter() - started
    finally:
        used.close()
    key = f"{recipe.task['validation'][0]}/{recipe.task['metric']}"
    values = [row[key] for row in state.history if math.isfinite(row[key])]
    return {
        "seconds": round(seconds, 6),
        "train_seconds": round(sum(steps), 6),
        "status": state.status,
        "best": max(values, default=None),
        "device": device,
        "hardware": provenance.hardware(device),
        "threads": threads,
    }


def _warm_up(used: Engine, recipe: Recipe, data: Data) -> None:
    """A few steps and a batch of each evaluation, so that costs of the first call are not timed."""

    def some(examples: Examples) -> np.ndarray:
        return np.arange(min(recipe.training["batch_size"], len(examples)))

    try:
        if recipe.training["epochs"]:
            for step in range(WARM_STEPS):
                used.step({0: some(data.train)}, {0: step_seed(recipe.seed, 0, step)})
        for split in data.validation.values():
            used.predict(split.take(some(split)), [0])
    finally:
        used.close()


@contextmanager
def _clocked(spent: list[float], device: str) -> Iterator[None]:
    """Appends the seconds of what happens within, on the GPU too."""
    started = time.perf_counter()
    yield
    _wait(device)
    spent.append(time.perf_counter() - started)


def _wait(device: str) -> None:
    """Waits for a GPU, which goes on computing after a call has returned."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
