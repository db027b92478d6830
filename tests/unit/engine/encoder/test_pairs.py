"""The loss of pairs: every pair of a batch, both kinds weighted alike, gradients as autograd's."""

from itertools import combinations

import pytest
import torch

from beft.engine.encoder.pairs import pair_losses


def plainly(embeddings: torch.Tensor, labels: list[int]) -> torch.Tensor:
    """The loss of a batch, pair by pair."""
    kinds: dict[bool, list[torch.Tensor]] = {}
    for i, j in combinations(range(len(labels)), 2):
        cosine = torch.cosine_similarity(embeddings[i], embeddings[j], dim=0)
        alike = labels[i] == labels[j]
        kinds.setdefault(alike, []).append((cosine - float(alike)) ** 2)
    return torch.stack([torch.stack(costs).mean() for costs in kinds.values()]).mean()


@pytest.mark.parametrize(
    "labels", [[0, 1, 0, 1, 1], [0, 1, 2, 2, 3, 0, 4], [1, 1, 1], [0, 1], [0, 0, 0, 0, 0, 1]]
)
def test_the_loss_is_that_of_each_pair_by_itself(labels):
    given = torch.randn(len(labels), 6, generator=torch.Generator().manual_seed(1))
    ours, theirs = given.clone().requires_grad_(), given.clone().requires_grad_()
    each = pair_losses(ours, torch.tensor(labels))
    expected = plainly(theirs, labels)
    assert each.shape == (len(labels),)
    torch.testing.assert_close(each.mean(), expected)
    (found,) = torch.autograd.grad(each.mean(), ours)
    torch.testing.assert_close(found, torch.autograd.grad(expected, theirs)[0])


def test_a_batch_of_one_has_no_pair_and_no_gradient():
    given = torch.randn(1, 6).requires_grad_()
    each = pair_losses(given, torch.tensor([1]))
    assert each.tolist() == [0.0]
    assert torch.autograd.grad(each.sum(), given)[0].tolist() == [[0.0] * 6]


def test_cosines_are_in_float32_under_autocast():
    given = torch.randn(8, 16, generator=torch.Generator().manual_seed(2))
    labels = torch.tensor([0, 1] * 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = pair_losses(given, labels)
    assert torch.equal(found, pair_losses(given, labels))
