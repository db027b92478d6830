"""Frozen linear modules give what the modules themselves give, in both directions."""

import pytest
import torch

from beft.engine.encoder.frozen import Frozen, forward_of


@pytest.mark.parametrize("packs", [True, False])
@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("bias", [True, False])
def test_equals_the_module(packs, dtype, close, bias):
    torch.manual_seed(0)
    module = torch.nn.Linear(24, 10, bias=bias)
    x = torch.randn(1, 7, 24).requires_grad_()
    frozen = Frozen(module, dtype)
    frozen.packs &= packs
    expected = module(x)
    got = forward_of(module, frozen)(x)
    assert got.dtype == dtype
    torch.testing.assert_close(got.float(), expected, rtol=close, atol=close)
    weights = torch.randn_like(expected)
    (grad,) = torch.autograd.grad((got.float() * weights).sum(), x)
    (wanted,) = torch.autograd.grad((expected * weights).sum(), x)
    assert grad.dtype == x.dtype
    torch.testing.assert_close(grad, wanted, rtol=close, atol=2 * close)


def test_a_bias_taken_from_the_module_is_left_out():
    module = torch.nn.Linear(4, 3)
    frozen, x = Frozen(module, torch.float32), torch.ones(2, 4)
    kept, module.bias = module.bias, None
    torch.testing.assert_close(forward_of(module, frozen)(x), x @ module.weight.T)
    module.bias = kept
    torch.testing.assert_close(forward_of(module, frozen)(x), x @ module.weight.T + kept)
