"""One run on a padded batch: for techniques that change weights or add some, and for
architectures whose attention needs more than query, key and value."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from beft.data.encoded import collate
from beft.engine.peft_methods import adapt
from beft.engine.precision import autocast, losses_of, predict
from beft.models.encoder import init_head
from beft.models.sites import read_biases
from beft.study.recipe import Recipe
from beft.techniques import TECHNIQUES, Part


@dataclass(frozen=True)
class Tuned:
    """One trained tensor: a whole parameter, or the chosen scalars of one."""

    parameter: torch.nn.Parameter
    index: torch.Tensor | None
    value: torch.Tensor

    def pull_gradient(self) -> None:
        """Moves the chosen scalars' gradient from the parameter to the trained tensor."""
        if self.index is not None:
            self.value.grad = self.parameter.grad.view(-1)[self.index]

    def push_value(self) -> None:
        """Writes the trained scalars back into the parameter."""
        if self.index is not None:
            self.parameter.data.view(-1)[self.index] = self.value.data


class Padded:
    """The engine of one run; trains the model's own parameters in place, or an adapter's."""

    def __init__(self, encoder: Any, recipe: Recipe, train: Any, device: str):
        """An engine for this run.

        Args:
            encoder: an `Encoder`, or a `Decoder`, which has no head.
        """
        self.encoder, self.recipes, self.train, self.device = encoder, [recipe], train, device
        self.settings = recipe.training
        self.tick: Callable[[], None] = lambda: None
        parts = parts_of(encoder, recipe)
        named = dict(encoder.model.named_parameters())
        names = {p.parameter for p in parts} | set(encoder.head)
        self.pretrained = [(named[n], named[n].detach().clone()) for n in names]
        self.biases = read_biases(encoder.model, encoder.sites)
        if encoder.fresh:
            init_head(encoder, recipe.seed)
        self.adapter = adapt(encoder, recipe)
        self.tuned = tuned_of(encoder, parts)
        if self.adapter is not None:
            own = self.adapter.tuned.values()
            self.tuned += [Tuned(p, None, p.requires_grad_(True)) for p in own]
        self.optimizer = None
        if self.tuned:
            self.optimizer = torch.optim.AdamW(
                [t.value for t in self.tuned],
                lr=self.settings["learning_rate"],
                weight_decay=self.settings["weight_decay"],
                fused=True,
            )

    def close(self) -> None:
        """Puts the pretrained values back."""
        for parameter, value in self.pretrained:
            parameter.data.copy_(value)
            parameter.grad = None
        if self.adapter is not None:
            self.adapter.remove()

    def step(self, batches: dict[int, np.ndarray], seeds: dict[int, int]) -> dict:
        """One update; see `engine.Engine.step`."""
        loss = self._backward(batches[0], seeds[0])
        for tuned in self.tuned:
            tuned.pull_gradient()
        values = [t.value for t in self.tuned]
        norm = torch.nn.utils.clip_grad_norm_(values, self.settings["max_grad_norm"]).item()
        finite = math.isfinite(loss) and math.isfinite(norm)
        if finite:
            self.optimizer.step()
        for tuned in self.tuned:
            tuned.parameter.grad = None
            tuned.value.grad = None
            tuned.push_value()
        return {0: loss if finite else None}

    def _backward(self, rows: np.ndarray, seed: int) -> float:
        """The mean loss of a batch, its gradients left in the parameters."""
        model = self.encoder.model.train()
        pad = self.encoder.tokenizer.pad_token_id
        batch = collate(self.train, rows, pad, self.device)
        labels = batch.pop("labels")
        torch.manual_seed(seed)
        with autocast(self.device, self.settings["precision"]):
            loss = losses_of(model(**batch).logits, labels).mean()
        loss.backward()
        return loss.item()

    def predict(self, data: Any, runs: Sequence[int]) -> list[np.ndarray]:
        """Logits of every example; see `engine.Engine.predict`."""
        pad, precision = self.encoder.tokenizer.pad_token_id, self.settings["precision"]
        model, device = self.encoder.model, self.device
        return [predict(model, data, pad, device, precision, self.tick) for _ in runs]

    def snapshot(self, run: int) -> dict[str, torch.Tensor]:
        """All biases as they are now; an adapter changes none."""
        if self.adapter is not None:
            return self.biases
        return read_biases(self.encoder.model, self.encoder.sites)

    def head(self, run: int) -> dict[str, torch.Tensor]:
        """The head as it is now."""
        named = dict(self.encoder.model.named_parameters())
        return {n: named[n].detach().cpu().clone() for n in self.encoder.head}

    def state(self) -> dict[str, torch.Tensor]:
        """Trained values and moments."""
        tensors = {}
        for i, tuned in enumerate(self.tuned):
            tensors[f"value/{i}"] = tuned.value.detach()
            for key, value in self.optimizer.state.get(tuned.value, {}).items():
                tensors[f"adam/{i}/{key}"] = value.detach()
        return {k: v.cpu().contiguous().clone() for k, v in tensors.items()}

    def load(self, state: dict[str, torch.Tensor]) -> None:
        """Continues from what `state` gave."""
        for i, tuned in enumerate(self.tuned):
            tuned.value.data.copy_(state[f"value/{i}"])
            tuned.push_value()
            prefix = f"adam/{i}/"
            moments = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            if moments:
                device = tuned.value.device
                self.optimizer.state[tuned.value] = {k: v.to(device) for k, v in moments.items()}


def tuned_of(encoder: Any, parts: tuple[Part, ...]) -> list[Tuned]:
    """Freezes the model except for these parts and the head."""
    parameters = dict(encoder.model.named_parameters())
    for p in parameters.values():
        p.requires_grad_(False)
        p.grad = None
    tuned = []
    for part in (*parts, *(Part(name) for name in encoder.head)):
        p = parameters[part.parameter].requires_grad_(True)
        if part.index is None:
            tuned.append(Tuned(p, None, p))
        else:
            index = torch.as_tensor(part.index, device=p.device)
            tuned.append(Tuned(p, index, p.data.view(-1)[index].clone().requires_grad_(True)))
    return tuned


def shapes_of(encoder: Any) -> dict[str, tuple[int, ...]]:
    """Shapes of the parameters that are not the head's."""
    named = encoder.model.named_parameters()
    return {n: tuple(p.shape) for n, p in named if n not in encoder.head}


def parts_of(encoder: Any, recipe: Recipe) -> tuple[Part, ...]:
    """What a recipe trains besides the head."""
    return TECHNIQUES[recipe.technique].select(shapes_of(encoder), encoder.sites, recipe.seed)


def trained_numbers(encoder: Any, parts: tuple[Part, ...]) -> tuple[int, int]:
    """(scalars that the technique trains besides the head, parameters of the encoder)."""
    shapes = shapes_of(encoder)
    trained = sum(
        math.prod(shapes[p.parameter]) if p.index is None else len(p.index) for p in parts
    )
    return trained, sum(math.prod(s) for s in shapes.values())
