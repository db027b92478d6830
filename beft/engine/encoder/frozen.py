"""Linear modules whose weights never change: cast and packed once, for both directions."""

from collections.abc import Callable
from functools import cached_property

import torch
from torch.nn.functional import linear

from beft.models.encoder import Encoder


class Frozen:
    """A linear module's weight and bias, in the form that this device multiplies fastest.

    Attributes:
        weight: (out, in) in the type that products are computed in.
        bias: (out,) in the same type, or None.
    """

    def __init__(self, module: torch.nn.Linear, dtype: torch.dtype):
        self.weight = module.weight.detach().to(dtype)
        self.bias = None if module.bias is None else module.bias.detach().to(dtype)
        self.packs = not self.weight.is_cuda and hasattr(torch.ops.mkldnn, "_linear_pointwise")

    @cached_property
    def _forward(self) -> torch.Tensor:
        return self._packed(self.weight)

    @cached_property
    def _backward(self) -> torch.Tensor:
        return self._packed(self.weight.t().contiguous())

    def _packed(self, weight: torch.Tensor) -> torch.Tensor:
        if self.packs and weight.dtype == torch.bfloat16:
            return torch.ops.mkldnn._reorder_linear_weight(weight, None)
        return weight

    def product(self, x: torch.Tensor, bias: bool) -> torch.Tensor:
        """x (..., in) times the weight, with or without the bias, (..., out)."""
        return self._times(x, self._forward, self.bias if bias else None)

    def back(self, grad: torch.Tensor) -> torch.Tensor:
        """The gradient of x from the gradient of the product."""
        if not self.packs:  # no second copy of the weights, which may be many
            return grad.to(self.weight.dtype) @ self.weight
        return self._times(grad, self._backward, None)

    def _times(
        self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        x = x.to(self.weight.dtype)
        if not self.packs:
            return linear(x, weight, bias)
        # torch's compiler uses this on CPUs: the weight is not packed anew in each product.
        return torch.ops.mkldnn._linear_pointwise(x.contiguous(), weight, bias, "none", [], "")


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, frozen: Frozen, bias: bool):
        ctx.frozen, ctx.dtype = frozen, x.dtype
        return frozen.product(x, bias)

    @staticmethod
    def backward(ctx, grad):
        return ctx.frozen.back(grad).to(ctx.dtype), None, None


def frozen_linears(encoder: Encoder, dtype: torch.dtype) -> dict[str, Frozen]:
    """Name -> frozen form of the linear modules outside the head."""
    heads = {name.rpartition(".")[0] for name in encoder.head}
    return {
        name: Frozen(module, dtype)
        for name, module in encoder.model.named_modules()
        if isinstance(module, torch.nn.Linear) and name not in heads
    }


def forward_of(module: torch.nn.Module, frozen: Frozen) -> Callable[[torch.Tensor], torch.Tensor]:
    """A forward method for the module, without the bias while the module has none."""
    return lambda x: _Product.apply(x, frozen, module.bias is not None)
