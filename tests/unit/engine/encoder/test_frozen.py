"""Frozen linear modules give what the modules themselves give, in both directions."""

import pytest
import torch
from transformers.activations import ACT2FN

from beft.engine.encoder.frozen import Frozen, forward_of
from beft.engine.encoder.table import ACTIVATIONS


@pytest.mark.parametrize("packs", [True, False])
@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("bias", [True, False])
def test_equals_the_module(packs, dtype, close, bias):
    torch.manual_seed(0)
    module = torch.nn.Linear(24, 10, bias=bias)
    x = torch.randn(1, 7, 24).requires_grad_()
    frozen = Frozen([module], dtype)
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


@pytest.mark.parametrize("fuses", [True, False])
@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
@pytest.mark.parametrize("name", list(ACTIVATIONS))
def test_products_with_an_activation_or_a_residual(fuses, dtype, close, name):
    torch.manual_seed(0)
    module, x, residual = torch.nn.Linear(24, 10), torch.randn(7, 24), torch.randn(7, 10)
    frozen = Frozen([module], dtype)
    if not fuses:
        frozen.fuses = frozen.packs = False
    expected = module(x).detach()
    got = frozen.activated(x.to(dtype), frozen.bias, ACTIVATIONS[name])
    wanted = ACT2FN[name](expected)
    torch.testing.assert_close(got.float(), wanted, rtol=close, atol=close)
    got = frozen.added(x.to(dtype), frozen.bias, residual.to(dtype))
    torch.testing.assert_close(got.float(), expected + residual, rtol=close, atol=close)


def test_a_bias_taken_from_the_module_is_left_out():
    module = torch.nn.Linear(4, 3)
    frozen, x = Frozen([module], torch.float32), torch.ones(2, 4)
    kept, module.bias = module.bias, None
    torch.testing.assert_close(forward_of(module, frozen)(x), x @ module.weight.T)
    module.bias = kept
    torch.testing.assert_close(forward_of(module, frozen)(x), x @ module.weight.T + kept)


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch without oneDNN")
def test_the_private_products_of_torch_are_those_that_frozen_calls():
    """`Frozen` calls three operators that torch does not document.

    If this fails after an update of torch, read what replaced them and adapt `_packed`, `_times`
    and `Frozen.added`. Without them runs on CPUs still work, several times slower in bfloat16.
    """
    found = {
        name: str(getattr(torch.ops.mkldnn, name).default._schema)
        for name in ("_linear_pointwise", "_reorder_linear_weight")
    }
    assert str(torch.ops.mkldnn._linear_pointwise.binary._schema) == (
        "mkldnn::_linear_pointwise.binary(Tensor X, Tensor other, Tensor W, Tensor? B, str attr) "
        "-> Tensor Y"
    )
    assert found == {
        "_linear_pointwise": (
            "mkldnn::_linear_pointwise(Tensor X, Tensor W, Tensor? B, str attr, "
            "Scalar?[] scalars, str? algorithm) -> Tensor Y"
        ),
        "_reorder_linear_weight": (
            "mkldnn::_reorder_linear_weight(Tensor self, int? batch_size=None) -> Tensor Y"
        ),
    }
    assert Frozen([torch.nn.Linear(4, 3)], torch.bfloat16).packs
