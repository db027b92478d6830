"""Data, settings and progress of runs that are trained together."""

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch

from beft.engine.base import Examples
from beft.store.run_format import Epoch, Part, Snapshot, kept
from beft.tasks.words import Plain

Row = Plain  # of the history: numbers, and no training loss where nothing is trained


class Interrupted(Exception):
    """The runs were told to stop; their checkpoint is written."""


@dataclass(frozen=True)
class Data:
    """A task's examples for one run."""

    train: Examples  # the training subset
    # each split that the run is evaluated on; the first one chooses the best epoch
    validation: dict[str, Examples]


@dataclass(frozen=True)
class Control:
    """How runs are executed; nothing here changes a result."""

    checkpoint: Path | None  # the checkpoint's file; None writes none, where runs are only timed
    checkpoint_seconds: float = 60  # between checkpoints inside an epoch
    # called before each step; True writes a checkpoint and raises `Interrupted`
    stop: Callable[[], bool] = lambda: False
    # called with (steps done, steps in all, description)
    progress: Callable[[int, int, str], None] = lambda done, total, text: None
    # each step runs within the context that this returns
    around_step: Callable[[], AbstractContextManager[None]] = nullcontext
    started: float = field(default_factory=time.monotonic)  # `time.monotonic()` at the beginning


@dataclass
class State:
    """Everything that a run accumulates; a checkpoint holds this and the trained values."""

    epoch: int = 0
    step: int = 0  # steps done in the current epoch
    loss_sum: float = 0.0  # of the examples of the current epoch
    # a row per evaluation: epoch, training loss, metrics
    history: list[Row] = field(default_factory=list)
    best_epoch: int = 0
    status: Literal["ok", "diverged"] = "ok"
    reason: str = ""
    seconds: float = 0.0  # spent by earlier processes
    refused: int = 0  # passes that did not fit into memory in earlier processes
    # snapshots, heads, predictions and what examples add to metrics, by their keys in the run
    # folder (`run_format.kept`)
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)

    def keep(self, part: Part, name: Snapshot | Epoch, tensors: Mapping[str, torch.Tensor]) -> None:
        """Stores tensors for a file of the run folder, under the key of their group."""
        self.tensors |= kept(part, name, tensors)

    def diverge(self, reason: str) -> None:
        """Ends the run because a number is not finite."""
        self.status, self.reason = "diverged", reason
