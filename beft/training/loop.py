"""The training loop of one or many runs: order, epochs, evaluation."""

import hashlib
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from beft.data.order import order
from beft.engine.base import Engine, Examples
from beft.engine.batches import chunks
from beft.store.run_format import Epoch, column
from beft.study.recipe import metrics_of
from beft.tasks.metrics import sums
from beft.tasks.words import Plain
from beft.training import checkpoint
from beft.training.state import Control, Data, Interrupted, Row, State


def step_seed(seed: int, epoch: int, step: int) -> int:
    """Seed of the dropout of one step: no random state needs to survive between steps."""
    key = f"{seed}/{epoch}/{step}".encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=7).digest(), "big")


def train(engine: Engine, data: Sequence[Data], control: Control) -> list[State]:
    """Trains the engine's recipes to their end, from their checkpoint if there is one.

    The protocol is that of section 3.1: AdamW, constant rate, clipping, dropout, evaluation after
    each epoch, or after the last one alone where a recipe says so. The runs take their steps
    together, but each has its own order, epochs and end.

    Args:
        data: of each run.

    Returns:
        The final state of each run; `status` is `diverged` when a loss, gradient or output was
        not finite.

    Raises:
        Interrupted: `control.stop()` returned True.
    """
    states = checkpoint.resume(engine, control)
    if states is None:
        states = [State() for _ in engine.recipes]
        for run, state in enumerate(states):
            state.keep("biases", "pre", engine.snapshot(run))
    loop = Loop(engine, data, control, states)
    engine.passes.tick = loop.leave_if_asked
    loop.run()
    for run, state in enumerate(states):
        state.keep("biases", "post", engine.snapshot(run))
        state.keep("head", "last", engine.head(run))
    return states


@dataclass
class Loop:
    """The runs of an engine while they are trained; a run is identified by its index."""

    engine: Engine
    # data, states: of each run
    data: Sequence[Data]
    control: Control
    states: list[State]
    # run -> the batches of its current epoch
    orders: dict[int, list[np.ndarray]] = field(default_factory=dict)
    # `time.monotonic()` of the last checkpoint
    saved: float = field(default_factory=time.monotonic)

    def run(self) -> None:
        """Steps and evaluations until every run has ended."""
        while active := self._active():
            if self.control.stop():
                self.save()
                raise Interrupted
            if time.monotonic() - self.saved >= self.control.checkpoint_seconds:
                self.save()
            ended = self.step(active)
            self._report()
            if ended:
                self._end_epoch(ended)
                self.save()
        epochs = [recipe.training["epochs"] for recipe in self.engine.recipes]
        if untrained := [run for run, count in enumerate(epochs) if count == 0]:
            self.evaluate(untrained, {})

    def leave_if_asked(self) -> None:
        """Raises `Interrupted` between batches of an evaluation, which is repeated on resuming."""
        if self.control.stop():
            raise Interrupted

    def save(self) -> None:
        """Writes the checkpoint."""
        checkpoint.save_states(self.engine, self.states, self.control)
        self.saved = time.monotonic()

    def step(self, active: list[int]) -> list[int]:
        """One step of every active run; returns the runs whose epoch it ended."""
        states, batches, seeds = self.states, {}, {}
        for run in active:
            recipe, state = self.engine.recipes[run], states[run]
            if run not in self.orders:
                rows = order(len(self.data[run].train), "epoch", recipe.seed, state.epoch)
                self.orders[run] = list(chunks(rows, recipe.training["batch_size"]))
            batches[run] = self.orders[run][state.step]
            seeds[run] = step_seed(recipe.seed, state.epoch, state.step)
        with self.control.around_step():
            losses = self.engine.step(batches, seeds)
        ended = []
        for run, loss in losses.items():
            state = states[run]
            if loss is None:
                state.diverge(f"loss or gradient not finite in epoch {state.epoch + 1}")
                continue
            state.loss_sum += loss * len(batches[run])
            state.step += 1
            if state.step == len(self.orders[run]):
                ended.append(run)
        return ended

    def evaluate(self, runs: list[int], losses: Mapping[int, float]) -> None:
        """Scores every validation split; keeps head and predictions of a run's best epoch so far.

        Args:
            losses: run -> mean training loss of its epoch.
        """
        self.engine.fit_heads(runs)
        task = self.engine.recipes[0].task
        splits = list(self.data[runs[0]].validation)
        found = {run: _Evaluation(self.states[run].epoch, losses.get(run)) for run in runs}
        for split in splits:
            for run, examples, outputs in self._outputs(runs, split):
                if not np.isfinite(outputs).all():
                    epoch = self.states[run].epoch
                    self.states[run].diverge(f"outputs not finite after epoch {epoch}")
                    continue
                found[run].add(split, examples, outputs, task)
        for run in runs:
            if self.states[run].status == "ok":
                reported = column(splits[0], task["metric"])
                found[run].note(self.states[run], reported, self.engine.head(run))

    def _active(self) -> list[int]:
        """The runs that are to go on."""
        epochs = [recipe.training["epochs"] for recipe in self.engine.recipes]
        ok = [state.status == "ok" for state in self.states]
        return [r for r, s in enumerate(self.states) if ok[r] and s.epoch < epochs[r]]

    def _report(self) -> None:
        """Reports the steps done; a run that diverged counts as complete."""
        done = total = 0
        for run, (recipe, state) in enumerate(zip(self.engine.recipes, self.states, strict=True)):
            steps = math.ceil(len(self.data[run].train) / recipe.training["batch_size"])
            epochs = recipe.training["epochs"]
            total += steps * epochs
            done += steps * (state.epoch if state.status == "ok" else epochs) + state.step
        self.control.progress(done, total, f"epoch {max(s.epoch for s in self.states) + 1}")

    def _end_epoch(self, ended: list[int]) -> None:
        losses = {}
        for run in ended:
            del self.orders[run]
            state = self.states[run]
            losses[run] = state.loss_sum / len(self.data[run].train)
            state.epoch, state.step, state.loss_sum = state.epoch + 1, 0, 0.0
        if due := [run for run in ended if self._is_due(run)]:
            self.evaluate(due, losses)
        for run in ended:
            state = self.states[run]
            if state.status == "ok":
                state.keep("biases", state.epoch, self.engine.snapshot(run))

    def _is_due(self, run: int) -> bool:
        """Whether a run is evaluated after the epoch that it has ended."""
        recipe = self.engine.recipes[run]
        return recipe.evaluates_each_epoch or self.states[run].epoch == recipe.training["epochs"]

    def _outputs(self, runs: list[int], split: str) -> Iterator[tuple[int, Examples, np.ndarray]]:
        """Each run with its examples of a split and its outputs on them.

        Runs share a validation split; what is held out from training differs by seed.
        """
        shared: dict[int, list[int]] = {}
        for run in runs:
            shared.setdefault(id(self.data[run].validation[split]), []).append(run)
        for together in shared.values():
            examples = self.data[together[0]].validation[split]
            outputs = self.engine.predict(examples, together)
            for run, found in zip(together, outputs, strict=True):
                yield run, examples, found


class _Evaluation:
    """One evaluation of a run: its row of the history, and tensors of each split."""

    def __init__(self, epoch: int, train_loss: float | None):
        self.row: Row = {"epoch": epoch, "train_loss": train_loss}
        self.predictions: dict[str, torch.Tensor] = {}
        self.examples: dict[str, torch.Tensor] = {}

    def add(self, split: str, examples: Examples, outputs: np.ndarray, task: Plain) -> None:
        """Adds predictions, metrics, and what each example adds to the reported metric."""
        decided = examples.decide(outputs)
        self.predictions[split] = torch.from_numpy(decided.copy())
        columns = sums.smallest(examples.columns(decided, task["metric"]))
        self.examples[split] = torch.from_numpy(columns)
        found = examples.evaluate(decided, metrics_of(task))
        self.row |= {column(split, metric): value for metric, value in found.items()}

    def note(self, state: State, reported: str, head: dict[str, torch.Tensor]) -> None:
        """Adds the evaluation to the run's state.

        Args:
            reported: column of the history that chooses the best epoch.
        """
        better = self.row[reported] > max((h[reported] for h in state.history), default=-math.inf)
        state.history.append(self.row)
        kept: tuple[Epoch, ...] = ("last", "best") if better else ("last",)
        for epoch in kept:
            state.keep("predictions", epoch, self.predictions)
            state.keep("examples", epoch, self.examples)
        if better:
            state.best_epoch = state.epoch
            state.keep("head", "best", head)
