"""Dropout factors depend on run, sequence, token and place, and on nothing else."""

import numpy as np
import pytest
import torch

from beft.engine.noise import Noise, token_keys


def noise(seeds, numbers, lengths) -> Noise:
    starts = np.cumsum([0, *lengths[:-1]])
    keys = token_keys(seeds, numbers, lengths)
    return Noise(torch.from_numpy(keys), torch.from_numpy(starts))


def dropped(noise: Noise, tokens: int, width: int = 500, p: float = 0.1) -> torch.Tensor:
    return noise.hidden(torch.Size([1, tokens, width]), p)[0] == 0


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_factors_have_the_right_share_and_mean(p):
    """Of n draws about p are 0 (5 sigma); the rest is 1 / (1 - p), so that the mean stays."""
    keep = noise([0], [0], [200]).hidden(torch.Size([1, 200, 500]), p)
    zeros = (keep == 0).float().mean().item()
    assert abs(zeros - p) < 5 * (p * (1 - p) / 1e5) ** 0.5
    assert keep[keep > 0].unique().tolist() == [pytest.approx(1 / (1 - p))]


def test_no_row_and_no_feature_is_dropped_more_often_than_others():
    """Over rows, and over features, the counts spread as those of independent draws do."""
    zeros = dropped(noise([0], [0], [400]), 400, 400)
    for counts in (zeros.sum(0), zeros.sum(1)):
        assert abs(counts.double().var().item() / (400 * 0.09) - 1) < 0.4
        assert counts.min() > 10 and counts.max() < 80  # 40 expected, deviation 6


def independent(a: torch.Tensor, b: torch.Tensor, p: float = 0.1) -> bool:
    """Whether both are zero as often as chance has it (5 sigma)."""
    n, both = a.numel(), (a & b).float().mean().item()
    return abs(both - p * p) < 5 * (p * p / n) ** 0.5


def test_runs_sequences_tokens_and_calls_are_independent():
    row = noise([1, 1, 2], [0, 1, 0], [100, 100, 100])
    first, second = dropped(row, 300), dropped(row, 300)
    assert independent(first, second)
    assert independent(first[:100], first[100:200])  # another sequence of the run
    assert independent(first[:100], first[200:])  # the same number in another run
    assert independent(first[1:], first[:-1])
    assert independent(first[:, 1:], first[:, :-1])


def test_neighbours_and_the_cut_of_a_batch_change_nothing():
    """The second sequence of run 2, alone, behind others, and as the start of a part."""
    alone = noise([2], [1], [9])
    among = noise([5, 2, 2], [0, 0, 1], [4, 7, 9])
    for _ in range(3):  # call after call
        assert torch.equal(dropped(alone, 9), dropped(among, 20)[-9:])


def test_shares_of_attention_do_not_depend_on_padding():
    row = noise([3, 3], [0, 1], [5, 3])
    short = torch.tensor([[5, 6, 7]])
    padded = torch.tensor([[0, 1, 2, 3, 4], [5, 6, 7, 7, 7]])
    of = row.shares(2, 0.5)
    assert torch.equal(of(padded)[1:, :, :3, :3], of(short))
    wide = noise([3], [0], [60]).shares(4, 0.1)(torch.arange(60)[None]) == 0
    assert independent(wide[:, 1:], wide[:, :-1])  # heads
    assert independent(wide[..., 1:], wide[..., :-1])  # keys
    assert independent(wide[..., 1:, :], wide[..., :-1, :])  # queries


def test_a_heads_factors_do_not_depend_on_the_encoder_before_it():
    deep, flat = noise([1], [0], [3]), noise([1], [0], [3])
    deep.hidden(torch.Size([1, 3, 8]), 0.5)
    for row in (deep, flat):
        row.begin_head()
    assert torch.equal(dropped(deep, 1), dropped(flat, 1))


def test_first_tokens_alone_keep_their_factors():
    row, other = noise([1, 1], [0, 1], [3, 4]), noise([1, 1], [0, 1], [3, 4])
    assert torch.equal(dropped(row, 7)[[0, 3]], other.hidden(torch.Size([1, 2, 500]), 0.1)[0] == 0)
