"""Decide what becomes of a classification layer that comes with a checkpoint.

Its rows are classes, so it serves a task only if its classes are those of the task.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from transformers import PreTrainedModel

from beft.errors import one_line
from beft.models.loading import Loaded
from beft.tasks.labels import spelt

Fate = Literal["kept", "reordered", "dropped", "replaced"]

_UNNAMED = re.compile(r"LABEL_\d+")  # what transformers calls a class without a name


@dataclass(frozen=True)
class Inherited:
    """A classification layer of a checkpoint, and what became of it."""

    layer: str  # its path in the model
    outputs: int
    classes: tuple[str, ...]  # as config.json names them; empty if it names none
    fate: Fate

    def line(self, wanted: Sequence[str]) -> str:
        """What became of it, for a task of these classes, or of none."""
        there = f"{self.outputs} output{'s' * (self.outputs > 1)}"
        there += f": {_listed(self.classes)}" if self.classes else ""
        task = _listed(wanted) if wanted else "a number"
        what = f"the checkpoint's own classification layer ({there})"
        if self.fate == "replaced":
            return f"{what} is replaced by a new one, which reads the mean of all tokens"
        if self.fate == "dropped":
            return f"{what} is not for this task's classes ({task}); a new one is drawn"
        if self.fate == "reordered":
            return f"{what} is kept, its rows in the order of this task's classes ({task})"
        if wanted and not self.classes:
            return f"{what} is kept; its outputs have no names, and are taken for {task}"
        return f"{what} is kept, as it is for {'these classes' if wanted else 'a number too'}"


def inherit(loaded: Loaded, wanted: Sequence[str], pooling: str = "first") -> Inherited | None:
    """Settles what becomes of the checkpoint's classification layer, if it has one.

    Where the classes are those of the task in another order, its rows are reordered in place. A
    layer that is `dropped` still holds its values: the caller draws it anew.

    Args:
        wanted: the names of the task's classes; empty for a regression.
        pooling: where it is `mean`, the layer is `replaced`: the caller puts another in its place.
    """
    path = classification_layer(loaded.model)
    weight = f"{path}.weight"
    if path is None or loaded.missing.get(weight, ()) is None:
        return None
    shape = loaded.missing.get(weight) or loaded.model.get_parameter(weight).shape
    classes = _classes(loaded.config)
    if pooling != "first":
        return Inherited(path, shape[0], classes, "replaced")
    fits = not any(name in loaded.missing for name in parameters(loaded.model, path))
    found = [spelt(name) for name in classes]
    asked = [spelt(name) for name in wanted]
    if fits and (not wanted or not classes or found == asked):
        return Inherited(path, shape[0], classes, "kept")
    if fits and len(set(found)) == len(found) and sorted(found) == sorted(asked):
        _reorder(loaded.model.get_submodule(path), [found.index(name) for name in asked])
        return Inherited(path, shape[0], classes, "reordered")
    return Inherited(path, shape[0], classes, "dropped")


def classification_layer(model: PreTrainedModel) -> str | None:
    """The path of the linear that gives the logits: the last one outside the base model."""
    base = f"{model.base_model_prefix}."
    outside = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and not name.startswith(base)
    ]
    return outside[-1] if outside else None


def parameters(model: PreTrainedModel, path: str) -> list[str]:
    """The names of a module's own parameters."""
    return [f"{path}.{name}" for name, _ in model.get_submodule(path).named_parameters()]


def _classes(config: dict) -> tuple[str, ...]:
    """The names of a checkpoint's classes, in the order of its outputs; none if it has no names."""
    named = config.get("id2label")
    if not isinstance(named, dict):
        return ()
    keys = sorted(named, key=lambda key: (len(key), key))  # whole numbers, written as text
    names = tuple(one_line(named[key]) for key in keys)
    return () if all(_UNNAMED.fullmatch(name) for name in names) else names


def _reorder(layer: nn.Module, rows: list[int]) -> None:
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(parameter[rows].clone())


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:8])
    return one_line(f"{shown}, ..." if len(names) > 8 else shown, 200)
