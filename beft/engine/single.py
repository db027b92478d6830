"""One run at a time, for techniques that change weights or add some, and for models whose runs
cannot share a pass. The model's own parameters are trained in place, or those of an adapter."""

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from beft.engine.base import Data, Engine, Losses, Pretrained, Tensors
from beft.engine.parts import parts_of
from beft.engine.peft_methods import adapt
from beft.models.base import Model
from beft.models.encoder import init_head
from beft.models.sites import read_biases, write_biases
from beft.study.recipe import Recipe
from beft.techniques.base import Part


@dataclass(frozen=True)
class Tuned:
    """One trained tensor: a whole parameter, or the chosen scalars of one."""

    parameter: torch.nn.Parameter
    index: torch.Tensor | None
    value: torch.Tensor

    def pull_gradient(self) -> None:
        """Copies the chosen scalars' gradient from the parameter to the trained tensor."""
        if self.index is not None and self.parameter.grad is not None:
            self.value.grad = self.parameter.grad.view(-1)[self.index]

    def pull_value(self) -> None:
        """Copies the chosen scalars from the parameter to the trained tensor."""
        if self.index is not None:
            self.value.data.copy_(self.parameter.data.view(-1)[self.index])

    def push_value(self) -> None:
        """Copies the trained scalars back to the parameter."""
        if self.index is not None:
            self.parameter.data.view(-1)[self.index] = self.value.data


class Single(Engine[Pretrained, Data]):
    """The engine of one run; a subclass computes gradients and outputs."""

    def __init__(
        self, model: Pretrained, recipes: Sequence[Recipe], train: Sequence[Data], device: str
    ):
        """See `Engine`; `recipes` has one run."""
        super().__init__(model, recipes, train, device)
        (recipe,) = recipes
        parts = parts_of(model, recipe)
        named = dict(model.model.named_parameters())
        names = {p.parameter for p in parts} | set(model.head)
        self.pretrained = [(named[n], named[n].detach().clone()) for n in names]
        self.biases = read_biases(model.model, model.sites)
        init_head(model, recipe.seed)
        self.adapter = adapt(model, recipe)
        self.tuned = tuned_of(model, parts)
        if self.adapter is not None:
            added = self.adapter.tuned.values()
            self.tuned += [Tuned(p, None, p.requires_grad_(True)) for p in added]
        self.optimizer = None
        if self.tuned:
            self.optimizer = torch.optim.AdamW(
                [t.value for t in self.tuned],
                lr=self.settings["learning_rate"],
                weight_decay=self.settings["weight_decay"],
                fused=True,
            )

    def close(self) -> None:
        """See `Engine.close`."""
        for parameter, value in self.pretrained:
            parameter.data.copy_(value)
            parameter.grad = None
        if self.adapter is not None:
            self.adapter.remove()
        write_biases(self.model.model, self.model.sites, self.biases)  # see `start_from`

    def start_from(self, run: int, biases: Tensors | None, head: Tensors | None) -> None:
        """Replaces the run's values until `close`; see `Engine.start_from`."""
        network = self.model.model
        if biases is not None:
            write_biases(network, self.model.sites, biases)
        with torch.no_grad():
            for name, value in (head or {}).items():
                network.get_parameter(name).copy_(value)
        for tuned in self.tuned:
            tuned.pull_value()

    def step(self, batches: dict[int, np.ndarray], seeds: dict[int, int]) -> Losses:
        """See `Engine.step`."""
        loss = self._backward(batches[0], seeds[0])
        for tuned in self.tuned:
            tuned.pull_gradient()
        values = [t.value for t in self.tuned]
        norm = torch.nn.utils.clip_grad_norm_(values, self.settings["max_grad_norm"]).item()
        finite = math.isfinite(loss) and math.isfinite(norm)
        if finite and self.optimizer is not None:
            self.optimizer.step()
        for tuned in self.tuned:
            tuned.parameter.grad = None
            tuned.value.grad = None
            tuned.push_value()
        return {0: loss if finite else None}

    @abstractmethod
    def _backward(self, rows: np.ndarray, seed: int) -> float:
        """The mean loss of a batch; leaves its gradients in the parameters."""

    def snapshot(self, run: int) -> dict[str, torch.Tensor]:
        """All current biases; an adapter changes none."""
        if self.adapter is not None:
            return self.biases
        return read_biases(self.model.model, self.model.sites)

    def head(self, run: int) -> dict[str, torch.Tensor]:
        """See `Engine.head`."""
        named = dict(self.model.model.named_parameters())
        return {n: named[n].detach().cpu().clone() for n in self.model.head}

    def state(self) -> dict[str, torch.Tensor]:
        """See `Engine.state`."""
        tensors = {}
        for i, tuned in enumerate(self.tuned):
            tensors[f"value/{i}"] = tuned.value.detach()
            for key, value in self._moments().get(tuned.value, {}).items():
                tensors[f"adam/{i}/{key}"] = value.detach()
        return {k: v.cpu().contiguous().clone() for k, v in tensors.items()}

    def load(self, state: dict[str, torch.Tensor]) -> None:
        """See `Engine.load`."""
        for i, tuned in enumerate(self.tuned):
            tuned.value.data.copy_(state[f"value/{i}"])
            tuned.push_value()
            prefix = f"adam/{i}/"
            moments = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            if moments:
                device = tuned.value.device
                self._moments()[tuned.value] = {k: v.to(device) for k, v in moments.items()}

    def _moments(self) -> dict[torch.Tensor, dict[str, torch.Tensor]]:
        """The optimiser's state: trained tensor -> moments and step count."""
        return {} if self.optimizer is None else self.optimizer.state


def tuned_of(model: Model, parts: tuple[Part, ...]) -> list[Tuned]:
    """The trained tensors of these parts and the head; freezes everything else."""
    parameters = dict(model.model.named_parameters())
    for p in parameters.values():
        p.requires_grad_(False)
        p.grad = None
    tuned = []
    for part in (*parts, *(Part(name) for name in model.head)):
        p = parameters[part.parameter]
        p.requires_grad_(True)
        if part.index is None:
            tuned.append(Tuned(p, None, p))
        else:
            index = torch.as_tensor(part.index, device=p.device)
            tuned.append(Tuned(p, index, p.data.view(-1)[index].clone().requires_grad_(True)))
    return tuned
