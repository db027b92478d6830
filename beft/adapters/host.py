"""Answer a task with given biases and a given head."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from beft.engine.base import Tensors
from beft.engine.dispatch import engine, serves
from beft.errors import UserError
from beft.store.run_folder import Run
from beft.store.run_format import Epoch
from beft.study.recipe import Recipe
from beft.training.shared import Loader

ALIKE = 0.995  # the share of a run's predictions that computing them again has to give


@dataclass(frozen=True)
class Values:
    """The tuned values of a run after one epoch."""

    pre: Tensors  # all biases before training, term -> (layers, width)
    biases: Tensors  # the same after the epoch
    head: Tensors  # parameter -> value
    predictions: Mapping[str, np.ndarray]  # those that the run recorded, split -> (examples, ...)
    metrics: Mapping[str, float | None]  # the reported metric of each validation split


def values_of(run: Run, epoch: Epoch = "best") -> Values:
    """The values of a run that counts, after its best or its last epoch."""
    return Values(
        _tensors(run.biases("pre")),
        _tensors(run.tuned(epoch)),
        _tensors(run.head(epoch)),
        run.predictions(epoch),
        {split: both[epoch] for split, both in run.metrics["splits"].items()},
    )


def _tensors(arrays: Mapping[str, np.ndarray]) -> Tensors:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


class Host:
    """The model of a task's runs, which takes biases and heads and answers the validation sets."""

    def __init__(self, loader: Loader, recipe: Recipe):
        """A host for runs with the model, task and settings of this one.

        Args:
            loader: of this task alone.
        """
        self.loader, self.model = loader, loader.model(recipe)
        self.flat = serves(self.model, loader.device)

    def predictions(
        self, recipe: Recipe, biases: Tensors | None = None, head: Tensors | None = None
    ) -> dict[str, np.ndarray]:
        """What is answered to every example of each validation split.

        Args:
            recipe: whose task, settings and, where it is drawn, initial head are used.
            biases: of all terms; those that its technique trains are used. None: pretrained ones.
            head: None: the one that a run starts with.
        """
        used = engine(self.model, [recipe], [], self.loader.device, self.flat)
        try:
            used.start_from(0, biases, head)
            return {
                split: data.decide(used.predict(data, [0])[0])
                for split in recipe.task["validation"]
                for data in [self.loader.split(recipe, split)]
            }
        finally:
            used.close()

    def metrics(self, recipe: Recipe, found: Mapping[str, np.ndarray]) -> dict[str, float]:
        """The reported metric of predictions, for each validation split."""
        metric = recipe.task["metric"]
        return {
            split: self.loader.split(recipe, split).evaluate(decided, [metric])[metric]
            for split, decided in found.items()
        }

    def check(self, recipe: Recipe, values: Values) -> None:
        """Makes sure that a run's own biases and head answer here what the run recorded.

        Raises:
            UserError: when they do not: what is computed of them would be of something else.
        """
        found = self.predictions(recipe, values.biases, values.head)
        for split, answers in found.items():  # a run may also have answered what it held out
            share = alike(answers, values.predictions[split])
            if share < ALIKE:
                raise UserError(
                    f"{recipe.folder()}: its biases and head give {1 - share:.1%} other answers on "
                    f"{split} than the run recorded; data, weights or libraries are not those of "
                    "the run: see 'beft verify', and use the machine and precision of the run"
                )


def alike(one: np.ndarray, other: np.ndarray) -> float:
    """The fraction of examples with equal predictions; numbers may differ by rounding."""
    if np.issubdtype(other.dtype, np.floating):
        return float(np.isclose(one, other, rtol=1e-2, atol=1e-2).mean())
    if one.ndim == 2 and one.shape != other.shape:  # generated tokens, -1 after their end
        width = max(one.shape[1], other.shape[1])
        one, other = (
            np.pad(a, ((0, 0), (0, width - a.shape[1])), constant_values=-1) for a in (one, other)
        )
    same = one == other
    return float(same.reshape(len(same), -1).all(axis=1).mean())
