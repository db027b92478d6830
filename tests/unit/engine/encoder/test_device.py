"""The hand-written passes on a device that is no CPU, without having one.

Fake tensors have a device, a type and a shape, but no numbers. An operation on tensors of two
devices raises, as on a card; so does one that only a CPU has.
"""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from support import tiny
from support.examples import encoded
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from beft.data.encoded import Encoded
from beft.engine import noise
from beft.engine.adamw import AdamW
from beft.engine.encoder.backward import backward
from beft.engine.encoder.evaluate import evaluate
from beft.engine.encoder.flat import first_position, flatten
from beft.engine.encoder.forward import forward
from beft.engine.encoder.table import table_of
from beft.engine.shares import Share
from beft.models.encoder import Encoder, load_encoder
from beft.models.terms import TERMS

DEVICE = "cuda:0"
FAMILIES = ["bert", "roberta", "electra", "distilbert"]
CACHES = (noise.column_keys, noise._feature_keys, noise._place_keys, noise._bound)


class Unguarded(TorchFunctionMode):
    """Does without a card what asks for one: memory is not pinned, and copies are sums."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is torch.Tensor.pin_memory:
            return args[0]
        if function is torch.Tensor.copy_:
            return args[0].mul_(0).add_(args[1].to(args[0]))
        return function(*args, **(kwargs or {}))


def taken(tensor: torch.Tensor, index: object) -> torch.Tensor:
    """`tensor[index]`, whose own code asks for a card."""
    aten, out, place = torch.ops.aten, tensor, 0
    parts = index if isinstance(index, tuple) else (index,)
    for i, part in enumerate(parts):
        if part is Ellipsis:
            place = out.dim() - sum(later is not None for later in parts[i + 1 :])
        elif part is None:
            out, place = aten.unsqueeze(out, place), place + 1
        elif isinstance(part, int):
            out = aten.select(out, place, part)
        elif isinstance(part, slice):
            out = aten.slice(out, place, part.start, part.stop, part.step or 1)
            place += 1
        else:
            out = aten.index(out, [*[None] * place, part])
            place += part.dim()
    return out


class Seen(TorchDispatchMode):
    """Notes operations that give more than one number on a CPU, and those of its own library."""

    def __init__(self):
        super().__init__()
        self.on_device, self.on_cpu = 0, []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        given = out if isinstance(out, tuple | list) else [out]
        found = [t for t in given if isinstance(t, torch.Tensor)]
        self.on_device += any(t.device.type == "cuda" for t in found)
        made = function is not torch.ops.aten.lift_fresh.default  # of numbers, on their way
        if function.namespace == "mkldnn" or (made and any(t.is_cpu and t.dim() for t in found)):
            self.on_cpu.append(str(function))
        return out


@pytest.fixture
def fake(monkeypatch) -> Iterator[FakeTensorMode]:
    """The mode in which tensors of another device can be made; nothing of it is kept.

    Where their numbers are read, they are ones.
    """
    monkeypatch.setattr(FakeTensor, "__getitem__", taken)
    monkeypatch.setattr(FakeTensor, "__setitem__", lambda t, index, new: taken(t, index).copy_(new))
    monkeypatch.setattr(FakeTensor, "tolist", lambda tensor: np.ones(tuple(tensor.shape)).tolist())
    with FakeTensorMode(allow_non_fake_inputs=True) as mode, Unguarded():
        for cache in CACHES:
            cache.cache_clear()
        yield mode
    for cache in CACHES:
        cache.cache_clear()


def moved(encoder: Encoder) -> Encoder:
    """The model with its weights on the device."""
    for module in encoder.model.modules():
        for kept in (module._parameters, module._buffers):
            for name, value in kept.items():
                if value is not None:
                    there = value.detach().to(DEVICE)
                    kept[name] = torch.nn.Parameter(there) if kept is module._parameters else there
    return encoder


def shares(encoder: Encoder) -> list[Share[Encoded]]:
    data = encoded(12, 1)
    if "token_type_ids" not in encoder.tokenizer.model_input_names:
        data = Encoded(data.ids, None, data.labels)
    return [Share(0, data, np.arange(5)), Share(1, data, np.arange(3, 12))]


@pytest.fixture
def parts(fake, tmp_path, request):
    """The table of a model, a row of two runs and the biases that they train."""
    architecture, dtype = request.param
    with unset_fake_temporarily():
        encoder = load_encoder(tiny.checkpoint(architecture, tmp_path), 2, dropout=0.1)
    encoder = moved(encoder)
    table = table_of(encoder, dtype)
    values = {
        (i, term): torch.zeros(2, *bias.shape, device=DEVICE)
        for i, layer in enumerate(table.layers)
        for term, bias in layer.biases.items()
        if term in TERMS
    }
    return encoder, table, values


CASES = [(family, dtype) for family in FAMILIES for dtype in (torch.float32, torch.bfloat16)]
each = pytest.mark.parametrize("parts", CASES, indirect=True, ids=str)


@each
def test_a_step_of_training_stays_on_the_device(parts):
    encoder, table, values = parts
    flat = flatten(shares(encoder), first_position(encoder.model.base_model), DEVICE, [3, 4])
    with Seen() as seen:
        states, tapes = forward(table, flat, values, lowest=0)
        grads = backward(table, flat, tapes, list(values), torch.ones_like(states))
    assert set(grads) == set(values)
    for key, grad in grads.items():
        assert (grad.device, grad.shape) == (torch.device(DEVICE), values[key].shape)
    assert seen.on_cpu == [] and seen.on_device > 100


@each
def test_an_evaluation_stays_on_the_device(parts):
    encoder, table, values = parts
    flat = flatten(shares(encoder)[:1], first_position(encoder.model.base_model), DEVICE)
    with Seen() as seen:
        states = evaluate(table, flat, {key: value[0] for key, value in values.items()})
    assert states.device == torch.device(DEVICE) and states.shape == (5, tiny.WIDTH)
    assert seen.on_cpu == [] and seen.on_device > 20


def test_an_update_stays_on_the_device(fake):
    theta, owner = torch.zeros(6, device=DEVICE), torch.zeros(6, dtype=torch.int64, device=DEVICE)
    optimizer = AdamW(theta, owner, [1e-3, 1e-2], weight_decay=0.1, max_grad_norm=1.0)
    with Seen() as seen:
        optimizer.update(torch.ones_like(theta), torch.ones(2, device=DEVICE), {0: 0.5, 1: 0.25})
    assert seen.on_cpu == [] and seen.on_device > 10


def test_what_would_fail_on_a_card_fails_here(fake):
    """The tests above can fail: a tensor on the CPU, and an operation that only a CPU has."""
    x = torch.zeros(3, 4, device=DEVICE)
    with pytest.raises(RuntimeError, match="device"):
        x + torch.zeros(4)
    with Seen() as seen:
        torch.zeros(4) * 2
    assert seen.on_cpu
