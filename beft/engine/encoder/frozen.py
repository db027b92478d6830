"""Linear modules whose weights never change: cast and packed once, for both directions."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import NamedTuple

import torch
from torch.nn.functional import linear

from beft.models.encoder import Encoder


class Activation(NamedTuple):
    """The function of an intermediate layer."""

    function: Callable[[torch.Tensor], torch.Tensor]
    gradient: Callable[..., torch.Tensor]  # from that of the outcome, and the input
    fused: tuple[str, str]  # its name and variant in a product with an activation


class Frozen:
    """The weight and bias of linear modules, in the form that this device multiplies fastest.

    Several modules of one input are one: their outputs stand side by side.

    Attributes:
        dtype: that products are computed in.
        bias: (out,) in this type, or None.
        packs: whether products read a packed copy of the weight.
        fuses: whether a product can be followed by an activation in one pass over memory.
    """

    def __init__(self, modules: Sequence[torch.nn.Linear], dtype: torch.dtype):
        self.dtype, self._weights = dtype, [module.weight.detach() for module in modules]
        biases = [m.bias.detach() for m in modules if m.bias is not None]
        self.bias = _joined(biases).to(dtype) if biases else None
        self.fuses = not self._weights[0].is_cuda and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        # In float32 products are as fast with the weight as it is.
        self.packs = self.fuses and dtype == torch.bfloat16

    @cached_property
    def _weight(self) -> torch.Tensor:
        """(out, in)"""
        return _joined(self._weights).to(self.dtype)

    @cached_property
    def _forward(self) -> torch.Tensor:
        return _packed(_joined(self._weights).to(self.dtype))

    @cached_property
    def _backward(self) -> torch.Tensor:
        return _packed(_joined(self._weights).to(self.dtype).t().contiguous())

    def product(self, x: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """x (..., in) times the weight, and this bias added, (..., out)."""
        x = typed(x, self.dtype)
        return _times(x, self._forward, bias) if self.packs else linear(x, self._weight, bias)

    def activated(
        self, x: torch.Tensor, bias: torch.Tensor | None, activation: Activation
    ) -> torch.Tensor:
        """The product after an activation."""
        if not self.fuses:
            return activation.function(self.product(x, bias))
        weight = self._forward if self.packs else self._weight
        return _times(typed(x, self.dtype), weight, bias, activation.fused)

    def added(
        self, x: torch.Tensor, bias: torch.Tensor | None, residual: torch.Tensor
    ) -> torch.Tensor:
        """The sum of the product and a residual."""
        if not self.packs:
            return self.product(x, bias).add_(residual)
        binary = torch.ops.mkldnn._linear_pointwise.binary
        return binary(typed(x, self.dtype), residual, self._forward, bias, "add")

    def back(self, grad: torch.Tensor) -> torch.Tensor:
        """The gradient of x from the gradient of the product."""
        grad = typed(grad, self.dtype)
        return _times(grad, self._backward, None) if self.packs else grad @ self._weight


def _packed(weight: torch.Tensor) -> torch.Tensor:
    return torch.ops.mkldnn._reorder_linear_weight(weight, None)


def _times(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    then: tuple[str, str] = ("none", ""),
) -> torch.Tensor:
    x = x if x.is_contiguous() else x.contiguous()
    # torch's compiler uses this on CPUs: the weight is not packed anew in each product.
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, then[0], [], then[1])


def typed(x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """`x.to(dtype)`, and no operation where it has the type."""
    return x if x.dtype == dtype else x.to(dtype)


def _joined(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Side by side; the parameter itself where there is one, so that it is held once."""
    return parts[0].detach() if len(parts) == 1 else torch.cat([p.detach() for p in parts])


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, frozen: Frozen, bias: bool):
        ctx.frozen, ctx.dtype = frozen, x.dtype
        return frozen.product(x, frozen.bias if bias else None)

    @staticmethod
    def backward(ctx, grad):
        return ctx.frozen.back(grad).to(ctx.dtype), None, None


def frozen_linears(encoder: Encoder, dtype: torch.dtype) -> dict[str, Frozen]:
    """Name -> frozen form of the linear modules outside the head."""
    heads = {name.rpartition(".")[0] for name in encoder.head}
    return {
        name: Frozen([module], dtype)
        for name, module in encoder.model.named_modules()
        if isinstance(module, torch.nn.Linear) and name not in heads
    }


def forward_of(module: torch.nn.Module, frozen: Frozen) -> Callable[[torch.Tensor], torch.Tensor]:
    """A forward method for the module, without the bias while the module has none."""
    return lambda x: _Product.apply(x, frozen, module.bias is not None)
