"""Makes a Hugging Face encoder compute a row of tokens: each slot with its own biases, with the
dropout of the row, and behind the last attention only what the head reads."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch.func import functional_call
from transformers.modeling_outputs import BaseModelOutputWithPooling

from beft.attention import IMPLEMENTATION
from beft.flat import Flat
from beft.models import Encoder


class AddOwn(torch.autograd.Function):
    """Adds to each row of x (1, N, H) the bias (R, H) of its slot, given by `owner` (N,).

    Without `add`, the biases are known to be zero, and only their gradient is of interest.
    """

    @staticmethod
    def forward(ctx, x, biases, owner, add=True):
        ctx.owner, ctx.slots = owner, len(biases)
        return x + biases.to(x.dtype).index_select(0, owner) if add else x.view_as(x)

    @staticmethod
    def backward(ctx, grad):
        # Added row by row, not by a product with ones and zeros: 0 * NaN of a diverging run would
        # reach its neighbours.
        rows = grad[0].float()
        if grad.is_cuda:
            lengths = torch.bincount(ctx.owner, minlength=ctx.slots)
            return grad, torch.segment_reduce(rows, "sum", lengths=lengths), None, None
        own = rows.new_zeros(ctx.slots, rows.shape[1])
        return grad, own.index_add_(0, ctx.owner, rows), None, None


@contextmanager
def computing(encoder: Encoder, flat: Flat, biases: Mapping[str, torch.Tensor]) -> Iterator[None]:
    """The model computing this row.

    Args:
        biases: parameter name -> the value of each slot of the row, (slots, width).
    """
    model = encoder.model
    with ExitStack() as stack:
        config = model.config
        stack.callback(setattr, config, "_attn_implementation", config._attn_implementation)
        config._attn_implementation = IMPLEMENTATION
        model.eval()
        for parameter, values in biases.items():
            _install_bias(stack, model, parameter, values, flat)
        if flat.noise is not None:
            _install_dropout(stack, encoder, flat)
        _install_cut(stack, encoder, flat)
        yield


def _install_bias(stack: ExitStack, model, parameter: str, values, flat: Flat) -> None:
    module = model.get_submodule(parameter.rpartition(".")[0])
    kept, module.bias = module.bias, None
    stack.callback(setattr, module, "bias", kept)
    hook = module.register_forward_hook(
        lambda module, args, out: AddOwn.apply(out, values, flat.owner(out.shape[1]))
    )
    stack.callback(hook.remove)


def _install_dropout(stack: ExitStack, encoder: Encoder, flat: Flat) -> None:
    def drop(module, args, out):
        return args[0] * flat.noise.hidden(args[0].shape, module.p)

    for module in encoder.model.modules():
        if isinstance(module, torch.nn.Dropout) and module.p > 0:
            stack.callback(module.register_forward_hook(drop).remove)
    # Attention modules pass their dropout on only while they train; their children do not.
    for site in encoder.sites.of("q"):
        attention = encoder.model.get_submodule(site.module.rpartition(".")[0])
        attention.training = True


def _install_cut(stack: ExitStack, encoder: Encoder, flat: Flat) -> None:
    """Nothing mixes tokens behind the last attention, so first tokens alone go on from there.

    That takes a module that adds the attention's output to its input, as BERT and its kin have.
    """
    if "attention_output" not in encoder.sites.terms:
        return
    path = encoder.sites.of("attention_output")[-1].module.rpartition(".")[0]
    module = encoder.model.get_submodule(path)
    if list(inspect.signature(module.forward).parameters) == ["hidden_states", "input_tensor"]:
        hook = module.register_forward_pre_hook(
            lambda module, args: tuple(x[:, flat.first] for x in args)
        )
        stack.callback(hook.remove)


def first_states(encoder: Encoder, flat: Flat) -> torch.Tensor:
    """The last hidden state of each sequence's first token, (S, H); within `computing`."""
    hidden = encoder.model.base_model(**flat.inputs()).last_hidden_state[0]
    return hidden if len(hidden) == len(flat.first) else hidden[flat.first]


def heads(
    encoder: Encoder, flat: Flat, states: torch.Tensor, own: Sequence[Mapping[str, torch.Tensor]]
) -> list[torch.Tensor]:
    """Logits of each slot, (sequences, labels) float32, from its own head; within `computing`.

    Args:
        states: from `first_states`.
        own: parameter name -> value, for each slot.
    """
    outputs = []
    parts = zip(states.split(flat.sequences), flat.first.split(flat.sequences), own, strict=True)
    for part, tokens, head in parts:
        with nullcontext() if flat.noise is None else flat.noise.head_of(tokens):
            outputs.append(head_logits(encoder, part, head))
    return outputs


def head_logits(
    encoder: Encoder, first: torch.Tensor, own: Mapping[str, torch.Tensor]
) -> torch.Tensor:
    """What the model computes after its base, (S, labels), from first tokens (S, H)."""
    base = encoder.model.base_model

    def given(*args: Any, **kwargs: Any) -> BaseModelOutputWithPooling:
        pooler = getattr(base, "pooler", None)
        pooled = None if pooler is None else pooler(first[:, None])
        return BaseModelOutputWithPooling(last_hidden_state=first[:, None], pooler_output=pooled)

    base.forward = given
    try:
        ids = torch.zeros(len(first), 1, dtype=torch.int64, device=first.device)
        return functional_call(encoder.model, dict(own), (ids,)).logits.float()
    finally:
        del base.forward
