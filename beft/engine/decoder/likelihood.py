"""Log-likelihoods of candidates from one pass of a decoder over rows, and losses from them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from torch.utils.hooks import RemovableHandle
from transformers import DynamicCache, PreTrainedModel

from beft.engine.decoder.rows import Rows
from beft.engine.precision import autocast
from beft.models.sites import Site

Cache = Callable[[int], DynamicCache]  # batch size -> keys and values that every row sees first


def lowering(model: PreTrainedModel, device: str, precision: str) -> torch.autocast:
    """bfloat16 autocast for a model in float32; a model in bfloat16 needs none."""
    return autocast(device, precision if model.dtype == torch.float32 else "float32")


@contextmanager
def asking(model: PreTrainedModel, places: torch.Tensor) -> Iterator[None]:
    """Makes the model compute logits at these K flat positions of (B * W) only, (1, K, V)."""
    hook = model.get_output_embeddings().register_forward_pre_hook(
        lambda module, args: (args[0].flatten(0, 1).index_select(0, places)[None], *args[1:])
    )
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def adding(
    model: PreTrainedModel, changes: Mapping[Site, torch.Tensor], owner: torch.Tensor | None
) -> Iterator[None]:
    """Adds to the biases of each token the changes of its run.

    The difference to the model's bias is added in float32, before rounding, so that a run that
    changes nothing computes exactly what the model computes.

    Args:
        changes: site -> (R, width), differentiable.
        owner: (B, W) the run of each token; None where all are of run 0.
    """
    modules: dict[str, list[tuple[Site, torch.Tensor]]] = {}
    for site, change in changes.items():
        modules.setdefault(site.module, []).append((site, change))
    with ExitStack() as stack:
        for path, parts in modules.items():
            module = model.get_submodule(path)
            added = _whole(model, parts)
            stack.callback(add_hook(module, added, owner).remove)
        yield


def _whole(model: PreTrainedModel, parts: list[tuple[Site, torch.Tensor]]) -> torch.Tensor:
    """Changes of a module's whole output, (R, width); zero in other rows of a fused projection."""
    site, change = parts[0]
    if site.rows is None:
        return change
    width = model.get_parameter(site.parameter).numel()
    whole = change.new_zeros(len(change), width)
    for part, values in parts:
        if part.rows is not None:
            index = torch.as_tensor(part.rows.index(), device=change.device)
            whole = whole.index_copy(1, index, values)
    return whole


def add_hook(
    module: torch.nn.Module, added: torch.Tensor, owner: torch.Tensor | None
) -> RemovableHandle:
    """Adds to each token's output of a module the vector (R, width) of its run."""

    def add(module: torch.nn.Module, args: object, out: torch.Tensor) -> torch.Tensor:
        if owner is None:
            return (out.float() + added[0]).to(out.dtype)
        each = added.index_select(0, owner.flatten())  # some modules get all rows flattened
        return (out.float() + each.view(out.shape)).to(out.dtype)

    return module.register_forward_hook(add)


def candidate_scores(
    model: PreTrainedModel, rows: Rows, cache: Cache | None = None
) -> torch.Tensor:
    """The summed log-likelihood of every candidate, (C,) float32.

    Args:
        cache: keys and values that every row sees (a trained prefix).
    """
    given: dict[str, object] = {
        "input_ids": rows.ids,
        "position_ids": rows.positions,
        "attention_mask": rows.mask,
    }
    if cache is not None:
        given |= after_prefix(rows, cache(len(rows.ids)))
    with asking(model, rows.places):
        logits = model(**given, use_cache=cache is not None).logits[0].float()
    return summed(logits, rows)


def after_prefix(rows: Rows, past: DynamicCache) -> dict[str, object]:
    """Arguments of a model whose rows see keys and values of `past` before their own tokens."""
    length = past.get_seq_length()
    seen = rows.mask.new_zeros(*rows.mask.shape[:3], length)
    return {
        "past_key_values": past,
        "attention_mask": torch.cat([seen, rows.mask], dim=3),
        "position_ids": rows.positions + length,
    }


def summed(logits: torch.Tensor, rows: Rows) -> torch.Tensor:
    """Log-likelihoods (C,) from logits (K, V) at `rows.places`."""
    each = logits[rows.asked, rows.targets] - torch.logsumexp(logits, dim=1)[rows.asked]
    return each.new_zeros(len(rows.lengths)).index_add(0, rows.candidate, each)


def normalised(scores: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Log-likelihood per token."""
    return scores / lengths


def grid(scores: torch.Tensor, counts: Sequence[int], absent: float) -> torch.Tensor:
    """Scores (C,) of all candidates as a table (n, most), `absent` where an example has fewer."""
    index = torch.as_tensor(np.array(counts), device=scores.device)
    example = torch.arange(len(counts), device=scores.device).repeat_interleave(index)
    first = torch.cumsum(index, 0) - index
    column = torch.arange(len(scores), device=scores.device) - first[example]
    table = scores.new_full((len(counts), max(counts)), absent)
    return table.index_put((example, column), scores)


def example_losses(
    scores: torch.Tensor, rows: Rows, gold: Sequence[int], objective: str, scoring: str
) -> torch.Tensor:
    """The loss of each example, (n,): minus log p(answer | prompt).

    With cross-entropy over candidates, p is a softmax over their scores; with the language
    model's loss it is the model's probability, per token of the right answer (the only candidate).
    """
    if objective == "language_model_on_answer":
        return -normalised(scores, rows.lengths)
    scored = scores if scoring == "plain" else normalised(scores, rows.lengths)
    table = grid(scored, rows.counts, float("-inf"))
    labels = torch.as_tensor(np.array(gold), device=scores.device)
    return cross_entropy(table, labels, reduction="none")
