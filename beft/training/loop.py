"""The training loop of one or many runs: order, epochs, evaluation, checkpoint."""

import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from beft.data.order import order
from beft.engine.base import Engine
from beft.engine.batches import chunks
from beft.store.run_format import Part, column, kept
from beft.study.recipe import Recipe
from beft.tasks.metrics import sums
from beft.training import checkpoint as saved

log = logging.getLogger(__name__)


CHECKPOINT = "checkpoint.safetensors"


class Interrupted(Exception):
    """The runs were asked to stop; their checkpoint is written."""


@dataclass(frozen=True)
class Data:
    """A task's examples for one run: the training subset and each split it is evaluated on.

    They are `Encoded`, or `Prompts` of a decoder. The first split chooses the best epoch.
    """

    train: Any
    validation: dict[str, Any]


@dataclass(frozen=True)
class Control:
    """How runs are executed; nothing here changes a result.

    Attributes:
        checkpoint: the checkpoint's file; None writes none, where runs are only timed.
        checkpoint_seconds: between checkpoints inside an epoch.
        stop: asked before each step; True writes a checkpoint and raises `Interrupted`.
        progress: called with (steps done, steps in all, what is going on).
    """

    checkpoint: Path | None
    checkpoint_seconds: float = 60
    stop: Callable[[], bool] = lambda: False
    progress: Callable[[int, int, str], None] = lambda done, total, text: None
    started: float = field(default_factory=time.monotonic)


@dataclass
class State:
    """Everything a run accumulates; a checkpoint is this and the trained values."""

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    history: list[dict] = field(default_factory=list)
    best_epoch: int = 0
    status: str = "ok"
    reason: str = ""
    seconds: float = 0.0  # spent by earlier processes
    refused: int = 0  # passes that did not fit into memory in earlier processes
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)  # snapshots, heads, answers


def step_seed(seed: int, epoch: int, step: int) -> int:
    """Seed of the dropout of one step: no random state needs to survive between steps."""
    key = f"{seed}/{epoch}/{step}".encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=7).digest(), "big")


def train(engine: Engine, data: Sequence[Data], control: Control) -> list[State]:
    """Runs the engine's recipes to their end, from their checkpoint if there is one.

    The protocol is that of section 3.1: AdamW, constant rate, clipping, dropout, evaluation after
    each epoch. Runs go in step, but each has its own order, epochs and end.

    Returns:
        The final state of each run; `status` is `diverged` when a loss, gradient or output was
        not finite.

    Raises:
        Interrupted: when `control.stop()` said so.
    """
    states = _resume(engine, control)
    if states is None:
        states = [State() for _ in engine.recipes]
        for run, state in enumerate(states):
            state.tensors |= kept("biases", "pre", engine.snapshot(run))
    orders: dict[int, list[np.ndarray]] = {}
    engine.tick = lambda: _leave_if_asked(control)
    last_saved = time.monotonic()
    while active := [r for r in range(len(states)) if _unfinished(states[r], engine.recipes[r])]:
        if control.stop():
            _save(engine, states, control)
            raise Interrupted
        if time.monotonic() - last_saved >= control.checkpoint_seconds:
            _save(engine, states, control)
            last_saved = time.monotonic()
        ended = _step(engine, data, states, active, orders)
        _report(engine, data, states, control)
        if ended:
            for run in ended:
                del orders[run]
            _end_epoch(engine, data, states, ended)
            _save(engine, states, control)
            last_saved = time.monotonic()
    untrained = [r for r in range(len(states)) if engine.recipes[r].training["epochs"] == 0]
    if untrained:
        _evaluate(engine, data, states, untrained, None)
    for run, state in enumerate(states):
        state.tensors |= kept("biases", "post", engine.snapshot(run))
        state.tensors |= kept("head", "last", engine.head(run))
    return states


def _leave_if_asked(control: Control) -> None:
    """Between batches of an evaluation: what it would repeat is since the last checkpoint."""
    if control.stop():
        raise Interrupted


def _unfinished(state: State, recipe: Recipe) -> bool:
    return state.status == "ok" and state.epoch < recipe.training["epochs"]


def _batches(recipe: Recipe, examples: int, epoch: int) -> list[np.ndarray]:
    rows = order(examples, "epoch", recipe.seed, epoch)
    return list(chunks(rows, recipe.training["batch_size"]))


def _step(engine, data, states, active, orders) -> list[int]:
    """One step of every active run; returns the runs whose epoch it ended."""
    for run in active:
        if run not in orders:
            recipe = engine.recipes[run]
            orders[run] = _batches(recipe, len(data[run].train), states[run].epoch)
    batches = {r: orders[r][states[r].step] for r in active}
    seeds = {r: step_seed(engine.recipes[r].seed, states[r].epoch, states[r].step) for r in active}
    ended = []
    for run, loss in engine.step(batches, seeds).items():
        state = states[run]
        if loss is None:
            state.status = "diverged"
            state.reason = f"loss or gradient not finite in epoch {state.epoch + 1}"
            continue
        state.loss_sum += loss * len(batches[run])
        state.step += 1
        if state.step == len(orders[run]):
            ended.append(run)
    return ended


def _report(engine, data, states, control) -> None:
    done = total = 0
    for run, (recipe, state) in enumerate(zip(engine.recipes, states, strict=True)):
        steps = math.ceil(len(data[run].train) / recipe.training["batch_size"])
        total += steps * recipe.training["epochs"]
        all_of_it = state.status != "ok"
        done += steps * (recipe.training["epochs"] if all_of_it else state.epoch) + state.step
    control.progress(done, total, f"epoch {max(s.epoch for s in states) + 1}")


def _end_epoch(engine, data, states, ended) -> None:
    losses = {}
    for run in ended:
        state = states[run]
        losses[run] = state.loss_sum / len(data[run].train)
        state.epoch, state.step, state.loss_sum = state.epoch + 1, 0, 0.0
    _evaluate(engine, data, states, ended, losses)
    for run in ended:
        if (state := states[run]).status == "ok":
            state.tensors |= kept("biases", state.epoch, engine.snapshot(run))


def _evaluate(engine, data, states, runs, losses: dict[int, float] | None) -> None:
    """Scores every validation split; keeps head and answers of a run's best epoch so far."""
    task = engine.recipes[0].task
    metrics = metrics_of(task)
    splits = list(data[runs[0]].validation)
    parts: dict[int, dict[Part, dict]]
    parts = {run: {"predictions": {}, "examples": {}} for run in runs}
    rows = {r: {"epoch": states[r].epoch, "train_loss": losses and losses[r]} for r in runs}
    for split in splits:
        for run, encoded, logits in _outputs(engine, data, runs, split):
            if not np.isfinite(logits).all():
                states[run].status = "diverged"
                states[run].reason = f"outputs not finite after epoch {states[run].epoch}"
                continue
            decided = encoded.decide(logits)
            parts[run]["predictions"][split] = torch.from_numpy(decided.copy())
            columns = sums.smallest(encoded.columns(decided, task["metric"]))
            parts[run]["examples"][split] = torch.from_numpy(columns)
            found = encoded.evaluate(decided, metrics)
            rows[run] |= {column(split, metric): value for metric, value in found.items()}
    for run in runs:
        if states[run].status == "ok":
            key = column(splits[0], task["metric"])
            _note(states[run], rows[run], key, parts[run], engine.head(run))


def _outputs(engine, data, runs, split) -> Iterator[tuple[int, Any, np.ndarray]]:
    """Each run with its examples of a split and its outputs on them.

    A validation split is one for all runs; what is held out from training is each seed's own.
    """
    shared: dict[int, list[int]] = {}
    for run in runs:
        shared.setdefault(id(data[run].validation[split]), []).append(run)
    for together in shared.values():
        encoded = data[together[0]].validation[split]
        for run, logits in zip(together, engine.predict(encoded, together), strict=True):
            yield run, encoded, logits


def metrics_of(task: dict) -> list[str]:
    """The metrics that a recipe's task is evaluated by; the first one is reported."""
    return task.get("metrics", [task["metric"]])


def _note(state: State, row: dict, key: str, parts: dict[Part, dict], head: dict) -> None:
    """Writes an epoch down, with the predictions and what each example adds to the metric."""
    better = row[key] > max((h[key] for h in state.history), default=-math.inf)
    state.history.append(row)
    for part, of_splits in parts.items():
        state.tensors |= kept(part, "last", of_splits)
        if better:
            state.tensors |= kept(part, "best", of_splits)
    if better:
        state.best_epoch = state.epoch
        state.tensors |= kept("head", "best", head)


def _digests(engine: Engine) -> str:
    return " ".join(recipe.digest for recipe in engine.recipes)


def _save(engine: Engine, states: list[State], control: Control) -> None:
    """Writes the checkpoint: safetensors, with the plain part of the states as its metadata."""
    if control.checkpoint is None:
        return
    tensors = {f"engine/{k}": v for k, v in engine.state().items()}
    plain = []
    for run, state in enumerate(states):
        tensors |= {f"{run}/{k}": v.contiguous().clone() for k, v in state.tensors.items()}
        plain.append({k: v for k, v in vars(state).items() if k != "tensors"})
        plain[-1]["seconds"] += time.monotonic() - control.started
        plain[-1]["refused"] += engine.passes.refused
    metadata = {"digests": _digests(engine), "states": json.dumps(plain)}
    saved.write(control.checkpoint, metadata, tensors)


def _resume(engine: Engine, control: Control) -> list[State] | None:
    """The states of a sound checkpoint of these very runs, loaded into the engine."""
    if control.checkpoint is None:
        return None
    try:
        metadata, tensors = saved.read(control.checkpoint)
        if metadata["digests"] != _digests(engine):
            raise ValueError("it belongs to other runs")
        states = [State(**plain) for plain in json.loads(metadata["states"])]
    except FileNotFoundError:
        return None
    except Exception as error:
        log.warning("%s: not usable (%s); starting over", control.checkpoint, error)
        return None
    groups: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        owner, _, name = key.partition("/")
        groups.setdefault(owner, {})[name] = tensor
    engine.load(groups["engine"])
    for run, state in enumerate(states):
        state.tensors = groups.get(str(run), {})
    log.info("resumed after epoch %d, step %d", states[0].epoch, states[0].step)
    return states
