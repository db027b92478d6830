"""The interface of engines: R runs on one model, whatever computes them."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Generic, Protocol, Self, TypeVar

import numpy as np
import torch

from beft.engine.memory import Passes
from beft.models.base import Model
from beft.study.recipe import Recipe
from beft.tasks.words import Plain

Losses = dict[int, float | None]
Tensors = Mapping[str, torch.Tensor]
Settings = Plain  # a recipe's training settings: numbers, names, None


class Examples(Protocol):
    """Tokenised examples of a task: `Encoded` for encoders, `Prompts` for decoders."""

    def __len__(self) -> int: ...

    def length(self, row: int) -> int:
        """Tokens of an example."""

    def take(self, rows: np.ndarray) -> Self:
        """The examples at these rows, in this order."""

    def decide(self, outputs: np.ndarray, /) -> np.ndarray:
        """Predictions from the outputs of `Engine.predict`."""

    def evaluate(self, predictions: np.ndarray, metrics: Sequence[str]) -> dict[str, float]:
        """Each metric as a fraction."""

    def columns(self, predictions: np.ndarray, metric: str) -> np.ndarray:
        """The terms that each example adds to a metric's sums, (n, k)."""


Pretrained = TypeVar("Pretrained", bound=Model)
Data = TypeVar("Data", bound=Examples)


class Engine(ABC, Generic[Pretrained, Data]):
    """R runs on one model; a run is identified by its index in `recipes`.

    Attributes:
        passes: their size, and how many did not fit into memory.
    """

    def __init__(
        self, model: Pretrained, recipes: Sequence[Recipe], train: Sequence[Data], device: str
    ):
        """An engine of these runs.

        Args:
            recipes: they share all settings but learning rate, seed and technique.
            train: each run's training examples; empty where no run is trained.
        """
        self.model, self.recipes, self.train, self.device = model, recipes, train, device
        self.settings, self.passes = recipes[0].training, Passes()

    @abstractmethod
    def step(self, batches: dict[int, np.ndarray], seeds: dict[int, int]) -> Losses:
        """One update of each of these runs.

        Args:
            batches: run -> rows of its training subset.
            seeds: run -> seed of this step's dropout.

        Returns:
            run -> mean loss; None, and no update, where loss or gradient is not finite.
        """

    def fit_heads(self, runs: Sequence[int]) -> None:
        """Fits the heads of these runs to their training examples, where heads are not trained.

        It precedes an evaluation, with the biases as they are.
        """

    @abstractmethod
    def predict(self, data: Data, runs: Sequence[int]) -> list[np.ndarray]:
        """Logits (n, labels) of every example for each of these runs, dropout off.

        For a decoder: scores (n, C) of candidates, or generated tokens (n, T).
        """

    @abstractmethod
    def start_from(self, run: int, biases: Tensors | None, head: Tensors | None) -> None:
        """Replaces a run's values before its first step.

        Args:
            biases: term -> (layers, width), of all terms; those that are not trained are ignored
                where runs share the model. None keeps the pretrained ones.
            head: parameter name -> value; None keeps the initial head.
        """

    @abstractmethod
    def snapshot(self, run: int) -> dict[str, torch.Tensor]:
        """All biases of a run: term -> (layers, width) float32 on the CPU."""

    @abstractmethod
    def head(self, run: int) -> dict[str, torch.Tensor]:
        """A run's head: parameter name -> value on the CPU."""

    @abstractmethod
    def state(self) -> dict[str, torch.Tensor]:
        """Trained values and optimiser state, for a checkpoint."""

    @abstractmethod
    def load(self, state: dict[str, torch.Tensor]) -> None:
        """Continues from what `state` returned."""

    def close(self) -> None:
        """Restores the model's pretrained weights."""
