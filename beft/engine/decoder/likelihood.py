"""Log-likelihoods of candidates from one pass of a decoder over rows, and losses from them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch.nn import functional as F
from torch.utils.hooks import RemovableHandle
from transformers import DynamicCache, PreTrainedModel

from beft.engine.decoder.last import Given, last_layer_at, watched
from beft.engine.decoder.rows import Rows
from beft.engine.precision import autocast
from beft.models.sites import Site

Cache = Callable[[int], DynamicCache]  # batch size -> keys and values that every row sees first


def lowering(model: PreTrainedModel, device: str, precision: str) -> torch.autocast:
    """bfloat16 autocast for a model in float32; a model in bfloat16 needs none."""
    return autocast(device, precision if model.dtype == torch.float32 else "float32")


@contextmanager
def logits_at(model: PreTrainedModel, cells: torch.Tensor) -> Iterator[None]:
    """Makes the model compute logits at these K flat positions of (B * W) only, (1, K, V)."""
    hook = model.get_output_embeddings().register_forward_pre_hook(
        lambda module, args: (args[0].flatten(0, 1).index_select(0, cells)[None], *args[1:])
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
            hook = add_hook(model.get_submodule(path), _whole(model, parts), owner)
            stack.callback(hook.remove)
        yield


def _whole(model: PreTrainedModel, parts: list[tuple[Site, torch.Tensor]]) -> torch.Tensor:
    """Changes of a module's whole output, (R, width); zero in other rows of a fused projection."""
    site, change = parts[0]
    if site.rows is None:
        return change
    width = model.get_parameter(site.parameter).numel()
    whole = change.new_zeros(len(change), width)
    for part, values in parts:
        index = torch.as_tensor(part.index, device=change.device)
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
    past = None if cache is None else cache(len(rows.ids))
    prefix = 0 if past is None else past.get_seq_length()
    with ExitStack() as stack:
        stack.enter_context(logits_at(model, rows.cells))
        if not torch.is_grad_enabled():
            past = watched(past, Given)
            stack.enter_context(last_layer_at(model, rows, past))
        out = model(
            input_ids=rows.ids,
            position_ids=rows.positions + prefix,
            attention_mask=F.pad(rows.mask, (prefix, 0)),
            past_key_values=past,
            use_cache=past is not None,
        )
    logits = out.logits[0].float()  # (K, V)
    each = torch.log_softmax(logits, dim=1)[rows.predictors, rows.targets]
    return each.new_zeros(len(rows.lengths)).index_add(0, rows.candidate, each)


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
        return -(scores / rows.lengths)
    scored = scores if scoring == "plain" else scores / rows.lengths
    table = grid(scored, rows.counts, float("-inf"))
    labels = torch.as_tensor(np.array(gold), device=scores.device)
    return F.cross_entropy(table, labels, reduction="none")
