"""Per-example gradients of a decoder's biases, with one slot per example in one pass."""

from contextlib import ExitStack

import numpy as np
import torch

from beft.data.prompts import Prompts
from beft.engine.decoder.likelihood import add_hook, candidate_scores, grid
from beft.engine.decoder.rows import arrange, items
from beft.models.decoder import Decoder


def answer_gradients(
    decoder: Decoder,
    parameters: dict[str, torch.nn.Parameter],
    data: Prompts,
    device: str,
    rows: np.ndarray,
) -> dict[str, torch.Tensor]:
    """The gradient of log p(y_i|x_i) for each example: parameter name -> (rows, width).

    Classes that all examples share: p is a softmax over the candidates' normalised scores, as in
    training. Otherwise it is the model's probability of the right answer.
    """
    model = decoder.model
    classes = _same_candidates(data)
    examples = [
        item for i, row in enumerate(rows) for item in items(data, [row], i, gold=not classes)
    ]
    arranged = arrange(examples, device, model.dtype)
    slots = {
        name: torch.zeros(len(rows), len(p), device=device, requires_grad=True)
        for name, p in parameters.items()
    }
    with ExitStack() as stack:
        for name, slot in slots.items():
            module = model.get_submodule(name.rpartition(".")[0])
            stack.callback(add_hook(module, slot, arranged.owner).remove)
        scores = candidate_scores(model, arranged)
    if classes:
        table = grid(scores / arranged.lengths, arranged.counts, float("-inf"))
        gold = torch.tensor([data.gold(row) for row in rows], device=device)
        scores = torch.log_softmax(table, 1).gather(1, gold[:, None])[:, 0]
    return dict(zip(slots, torch.autograd.grad(scores.sum(), list(slots.values())), strict=True))


def _same_candidates(data: Prompts) -> bool:
    """Whether all examples choose among the same answers."""
    return len({words.answers for words in data.words}) == 1 and len(data.words[0].answers) > 1
