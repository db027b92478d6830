"""Makes a Hugging Face encoder compute a row of tokens: each run with its biases, with the row's
dropout, and after the last attention only first tokens where the head reads no others."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial

import torch
from transformers.modeling_outputs import BaseModelOutputWithPooling

from beft.engine.encoder.attention import IMPLEMENTATION
from beft.engine.encoder.flat import Flat
from beft.engine.encoder.frozen import Frozen, forward_of
from beft.engine.encoder.pooled import Means
from beft.engine.noise import Noise
from beft.models.encoder import Encoder


class AddOwn(torch.autograd.Function):
    """Adds to each row of x (1, N, H) the bias (R, H) of its run.

    Without `add`, nothing is added, as the biases are zero: only their gradient is computed.
    """

    @staticmethod
    def forward(ctx, x, biases, flat: Flat, add=True):
        ctx.flat = flat
        if not add:
            return x.view_as(x)
        return x + biases.to(x.dtype).index_select(0, flat.owner(x.shape[1]))

    @staticmethod
    def backward(ctx, grad):
        return grad, ctx.flat.sums(grad[0]), None, None


@contextmanager
def computing(
    encoder: Encoder,
    flat: Flat,
    linears: Mapping[str, Frozen],
    biases: Mapping[str, torch.Tensor],
) -> Iterator[None]:
    """Makes the model compute this row.

    Args:
        linears: from `frozen_linears`.
        biases: parameter name -> the value of each run of the row, (runs, width).
    """
    model = encoder.model
    with ExitStack() as stack:
        config = model.config
        stack.callback(setattr, config, "_attn_implementation", config._attn_implementation)
        config._attn_implementation = IMPLEMENTATION
        model.eval()
        for name, frozen in linears.items():
            module = model.get_submodule(name)
            _replace_forward(stack, module, forward_of(module, frozen))
        for parameter, values in biases.items():
            _install_bias(stack, model, parameter, values, flat)
        stack.enter_context(dropping(encoder, flat.noise))
        # Attention modules pass their dropout on only while they train; their children do not.
        for site in encoder.sites.of("q"):
            attention = model.get_submodule(site.module.rpartition(".")[0])
            attention.training = flat.noise is not None
        if encoder.pooling == "first":
            _install_cut(stack, encoder, flat)
        yield


def _replace_forward(
    stack: ExitStack, module: torch.nn.Module, forward: Callable[..., object]
) -> None:
    module.forward = forward
    stack.callback(delattr, module, "forward")


def _install_bias(
    stack: ExitStack, model: torch.nn.Module, parameter: str, values: torch.Tensor, flat: Flat
) -> None:
    module = model.get_submodule(parameter.rpartition(".")[0])
    kept = module.bias
    module.register_parameter("bias", None)
    stack.callback(setattr, module, "bias", kept)
    hook = module.register_forward_hook(lambda module, args, out: AddOwn.apply(out, values, flat))
    stack.callback(hook.remove)


@contextmanager
def dropping(encoder: Encoder, noise: Noise | None) -> Iterator[None]:
    """Makes every dropout of the model, besides attention's, that of the row."""

    def drop(
        module: torch.nn.Dropout, args: tuple[torch.Tensor], out: torch.Tensor
    ) -> torch.Tensor:
        return args[0] * noise.hidden(args[0].shape, module.p)  # type: ignore[union-attr]

    with ExitStack() as stack:
        for module in encoder.model.modules() if noise is not None else ():
            if isinstance(module, torch.nn.Dropout) and module.p > 0:
                stack.callback(module.register_forward_hook(drop).remove)
        yield


def _install_cut(stack: ExitStack, encoder: Encoder, flat: Flat) -> None:
    """Drops all but the first tokens after the last attention, since nothing mixes tokens there.

    That takes a module that adds the attention's output to its input, as in models like BERT.
    """
    if "attention_output" not in encoder.sites.terms:
        return
    path = encoder.sites.of("attention_output")[-1].module.rpartition(".")[0]
    module = encoder.model.get_submodule(path)
    if list(inspect.signature(module.forward).parameters) == ["hidden_states", "input_tensor"]:
        hook = module.register_forward_pre_hook(
            lambda module, args: tuple(x.index_select(1, flat.first) for x in args)
        )
        stack.callback(hook.remove)


def pooled_states(encoder: Encoder, flat: Flat) -> torch.Tensor:
    """What the head reads of each sequence, (S, H); within `computing`.

    That is the last hidden state of its first token, or the mean of all.
    """
    hidden = encoder.model.base_model(**flat.inputs()).last_hidden_state[0]
    if encoder.pooling == "mean":
        return Means.apply(hidden, flat)
    return hidden if len(hidden) == len(flat.first) else hidden[flat.first]


def heads(
    encoder: Encoder, flat: Flat, states: torch.Tensor, values: Mapping[str, torch.Tensor]
) -> torch.Tensor:
    """Logits of all sequences, (S, labels) float32, each from its run's head; within `computing`.

    Args:
        states: from `pooled_states`.
        values: parameter name -> the value of each run, (R, *shape).

    Raises:
        TypeError: when the head has parameters of modules that are not linear.
    """
    runs = len(flat.sequences)
    with ExitStack() as stack:
        for name in {name.rpartition(".")[0] for name in values}:
            module = encoder.model.get_submodule(name)
            if not isinstance(module, torch.nn.Linear):
                raise TypeError(f"{name} of the head is not a linear module")
            weights = values.get(f"{name}.weight", [module.weight] * runs)
            biases = values.get(f"{name}.bias", [module.bias] * runs)
            forward = partial(_linear_of_runs, flat.sequences, weights, biases)
            _replace_forward(stack, module, forward)
        return head_logits(encoder, flat, states)


def _linear_of_runs(
    sequences: list[int],
    weights: Iterable[torch.Tensor],
    biases: Iterable[torch.Tensor | None],
    x: torch.Tensor,
) -> torch.Tensor:
    """A linear module that computes each run's rows with the run's weight and bias."""
    parts = zip(x.split(sequences), weights, biases, strict=True)
    return torch.cat([torch.nn.functional.linear(part, w, b) for part, w, b in parts])


def head_logits(encoder: Encoder, flat: Flat, states: torch.Tensor) -> torch.Tensor:
    """Logits (S, labels) from `pooled_states` (S, H): the model after its base.

    The mean of one state is that state, so this holds for heads that read a mean, too.
    """
    base = encoder.model.base_model

    def given(*args: object, **kwargs: object) -> BaseModelOutputWithPooling:
        pooler = getattr(base, "pooler", None)
        pooled = None if pooler is None else pooler(states[:, None])
        return BaseModelOutputWithPooling(last_hidden_state=states[:, None], pooler_output=pooled)

    if flat.noise is not None:
        flat.noise.begin_head()
    base.forward = given
    try:
        ids = torch.zeros(len(states), 1, dtype=torch.int64, device=states.device)
        return encoder.model(ids).logits.float()
    finally:
        del base.forward
