"""Hands the tensors of a checkpoint's files to transformers, each when it is asked for."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import safe_open
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)

from beft.errors import UserError, one_line
from beft.models.pretrained import Checkpoint, Stored

# The types of numbers that a weight may be stored in.
_FLOATS = ("F64", "F32", "F16", "BF16")


@dataclass
class Lazy:
    """A tensor that is read when it is moved to its place: transformers asks for no more."""

    stored: Stored
    source: Any  # a slice of safetensors
    hollow: bool  # whether to leave the tensor on the device `meta`
    flaw: str | None = None  # why it cannot be a weight; set when it was asked for as one

    def __getitem__(self, index: object) -> "Lazy":
        return self

    def to(self, device: object = None, dtype: torch.dtype | None = None) -> torch.Tensor:
        """The tensor itself."""
        value: torch.Tensor | None = None
        if dtype is not None and dtype.is_floating_point:  # else a buffer of whole numbers
            if self.stored.dtype not in _FLOATS:
                self.flaw = "use the checkpoint in float32, float16 or bfloat16"
            else:
                value = self.source[...]
                self.flaw = _flaw(value, dtype)
        if self.hollow:
            return torch.empty(self.stored.shape, dtype=dtype, device="meta")
        value = self.source[...] if value is None else value
        return value.to(device=device, dtype=dtype)  # type: ignore[call-overload]


def _flaw(values: torch.Tensor, dtype: torch.dtype) -> str | None:
    """What is wrong with weights; None if all are finite in the type that is computed in."""
    if not values.numel():
        return None
    ends = torch.stack(torch.aminmax(values)).to(dtype)  # NaN where any number is
    if ends.isfinite().all():
        return None
    kind = "NaN" if ends.isnan().any() else "infinite numbers"
    return f"it holds {kind}: the checkpoint is damaged; use another copy of it"


@dataclass(frozen=True)
class Tensors:
    """The tensors of a checkpoint, by their names in its files."""

    by_name: dict[str, Lazy]

    def check(self, label: str) -> None:
        """Check that all tensors that the model asked for can be its weights.

        Raises:
            UserError: One holds whole numbers, or some that are not finite; the message names it.
        """
        for name, tensor in self.by_name.items():
            if tensor.flaw:
                file, kind = tensor.stored.file.name, tensor.stored.dtype
                raise UserError(
                    f"{label}: {file}: '{one_line(name, 200)}', of type {kind}, cannot be a "
                    f"weight: {tensor.flaw}"
                )


@contextmanager
def lazy(checkpoint: Checkpoint, hollow: bool) -> Iterator[Tensors]:
    """The tensors of a checkpoint, which can be read inside this context.

    Args:
        hollow: Whether to leave all of them on the device `meta`, once their values are checked.
    """
    with ExitStack() as stack:
        opened: dict[object, Any] = {
            file: stack.enter_context(safe_open(file, framework="pt"))
            for file in checkpoint.weights
        }
        yield Tensors(
            {
                name: Lazy(stored, opened[stored.file].get_slice(name), hollow)
                for name, stored in checkpoint.tensors.items()
            }
        )


@contextmanager
def bounded(tensors: Tensors, label: str) -> Iterator[None]:
    """Stop the construction of a model that is far larger than the weights for it.

    Raises:
        UserError: While a model is constructed that has too many modules or numbers.
    """
    stored = sum(torch.Size(t.stored.shape).numel() for t in tensors.by_name.values())
    # A head may be new, tied weights are constructed twice, and weights on `meta` are put in place
    # of others on `meta`; buffers hold masks and positions.
    limits = {
        "modules": 1000 + 10 * len(tensors.by_name),
        "parameters": 4 * stored + 2**24,
        "numbers in buffers": 2 * stored + 2**28,
    }
    counts = dict.fromkeys(limits, 0)

    def count(what: str, number: int) -> None:
        counts[what] += number
        if counts[what] > limits[what]:
            raise UserError(
                f"{label}: config.json asks for more than {limits[what]} {what}, but the weights "
                f"hold {stored} numbers in {len(tensors.by_name)} tensors; fetch both from the "
                "same checkpoint"
            )

    def on_module(parent: object, name: str, module: object) -> None:
        count("modules", 1)

    def on_parameter(parent: object, name: str, value: torch.Tensor | None) -> None:
        if value is not None and value.is_meta:
            count("parameters", value.numel())

    def on_buffer(parent: object, name: str, value: torch.Tensor | None) -> None:
        if value is not None and value.is_meta:
            count("numbers in buffers", value.numel())

    with ExitStack() as stack:
        for handle in (
            register_module_module_registration_hook(on_module),
            register_module_parameter_registration_hook(on_parameter),
            register_module_buffer_registration_hook(on_buffer),
        ):
            stack.callback(handle.remove)
        yield
