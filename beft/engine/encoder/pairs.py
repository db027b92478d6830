"""The loss of `contrastive_pairs`: cosines of embeddings, over all pairs of a batch."""

import torch
from torch.nn.functional import normalize


def pair_losses(embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """What each example of a batch contributes to the loss of its pairs, (B,) float32.

    A pair costs (1 - cosine)² if its examples have one class, else cosine². The loss of a batch is
    the mean over pairs of one class, averaged with the mean over pairs of two; if it has pairs of
    one kind only, it is their mean, and 0 if it has no pair. The mean of what is returned is this
    loss.

    Args:
        embeddings: (B, H).
        labels: classes, (B,).
    """
    with torch.autocast(embeddings.device.type, enabled=False):
        unit = normalize(embeddings.float(), dim=1)
        alike = labels[:, None] == labels
        costs = (unit @ unit.T - alike.float()).square()
        others = ~torch.eye(len(unit), dtype=torch.bool, device=unit.device)
        kinds = torch.stack([alike & others, ~alike]).float()  # each pair is in one of them, twice
        counts = kinds.sum((1, 2))
        weights = (kinds / counts.clamp(min=1)[:, None, None]).sum(0)
        present = (counts > 0).sum().clamp(min=1)
        return len(unit) / present * (costs * weights).sum(1)
