"""Attention over a row against plain attention of each sequence: values, gradients, dropout."""

import numpy as np
import pytest
import torch

from beft.data.encoded import Encoded
from beft.engine.encoder.attention import attention
from beft.engine.encoder.flat import Flat, flatten
from beft.engine.shares import Share

HEADS, WIDTH = 3, 4


def row(lengths, seeds=None):
    data = Encoded([[1] * n for n in lengths], None, torch.zeros(len(lengths)))
    shares = [Share(0, data, np.arange(len(lengths)))]
    return flatten(shares, 0, "cpu", seeds)


def drawn(flat: Flat) -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [torch.randn(1, HEADS, flat.ids.numel(), WIDTH).requires_grad_() for _ in range(3)]


def one_by_one(query, key, value, lengths, scaling, factors=None) -> torch.Tensor:
    """Softmax attention of each sequence, (1, heads, N, width)."""
    outputs, start = [], 0
    for i, n in enumerate(lengths):
        q, k, v = (x[:, :, start : start + n] for x in (query, key, value))
        share = torch.softmax(scaling * q @ k.transpose(2, 3), -1)
        outputs.append((share if factors is None else share * factors[i]) @ v)
        start += n
    return torch.cat(outputs, 2)


# One block; several blocks (long and short ones); a single sequence; sequences of one token.
LENGTHS = [[3, 5, 4], [90, 3, 1, 88, 40, 2], [7], [1, 1]]


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("p", [0.0, 0.3])
def test_equals_attention_of_each_sequence(lengths, p):
    flat = row(lengths, [5] if p else None)
    inputs = drawn(flat)
    out, _ = attention(None, *inputs, None, flat, scaling=0.7, dropout=p)
    assert out.shape == (1, flat.ids.numel(), HEADS, WIDTH)
    out = out[:, : sum(lengths)]  # copies of the last token follow
    factors = None
    if p:
        of, starts = row(lengths, [5]).noise.shares(HEADS, p), np.cumsum([0, *lengths])
        factors = [of(torch.arange(s, s + n)[None]) for s, n in zip(starts, lengths, strict=False)]
    expected = one_by_one(*inputs, lengths, 0.7, factors)
    torch.testing.assert_close(out.transpose(1, 2), expected, rtol=1e-5, atol=1e-6)
    weights = torch.randn_like(expected)
    got = torch.autograd.grad((out.transpose(1, 2) * weights).sum(), inputs)
    wanted = torch.autograd.grad((expected * weights).sum(), inputs)
    for mine, theirs in zip(got, wanted, strict=True):
        mine, theirs = (x[:, :, : sum(lengths)] for x in (mine, theirs))
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)
    if not p:
        with torch.no_grad():
            quick, _ = attention(None, *inputs, None, flat, scaling=0.7)
        torch.testing.assert_close(quick[:, : sum(lengths)], out, rtol=1e-5, atol=1e-6)


def test_lengths_that_differ_much_are_split_into_blocks():
    assert len(row([90, 3, 1, 88, 40, 2]).blocks) > 1
    assert len(row([5, 4, 3]).blocks) == 1


@pytest.mark.parametrize("trouble", [float("nan"), float("inf")])
def test_one_sequence_without_finite_values_leaves_the_others_alone(trouble):
    lengths = [6, 4, 5]
    query, key, value = drawn(row(lengths))
    clean, _ = attention(None, query, key, value, None, row(lengths), scaling=1.0)
    with torch.no_grad():
        value[0, :, 6:10] = trouble
        key[0, :, 6:10] = trouble
    out, _ = attention(None, query, key, value, None, row(lengths), scaling=1.0)
    others = [*range(6), *range(10, 15)]
    assert torch.equal(out[:, others], clean[:, others])
    assert not out[:, 6:10].isfinite().any()
    grads = torch.autograd.grad(out[:, others].sum(), [query, key, value])
    assert all(g[:, :, others].isfinite().all() for g in grads)
