"""The last layer for the cells whose output is read: keys and values of all, the rest of those."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer

from beft.engine.decoder.rows import Rows


class Given(DynamicLayer):
    """Keys and values of one layer that later ones follow without being kept."""

    def __init__(self, keys: torch.Tensor | None = None, values: torch.Tensor | None = None):
        """Args:
        keys, values: (B, heads, n, width); None where nothing precedes.
        """
        super().__init__()
        if keys is not None and values is not None:
            self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True
            self.keys, self.values = keys, values

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The kept ones and these."""
        if self.keys is None or self.values is None:
            return key_states, value_states
        return (
            torch.cat([self.keys, key_states], dim=2),
            torch.cat([self.values, value_states], dim=2),
        )


class _CaughtError(Exception):
    """A layer has computed its keys and values."""


class Watched(DynamicCache):
    """A cache that can stop a layer behind its keys and values, and give them again."""

    caught: tuple[torch.Tensor, torch.Tensor] | None = None
    catching = False

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Cache.update`."""
        if self.caught is not None:
            return self.caught
        found = super().update(key_states, value_states, *args, **kwargs)
        if self.catching:
            self.caught = found
            raise _CaughtError
        return found


def pairs(past: DynamicCache | None) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Keys and values of each layer."""
    layers = cast("list[DynamicLayer]", [] if past is None else past.layers)
    return [(x.keys, x.values) for x in layers if x.keys is not None and x.values is not None]


def watched(past: DynamicCache | None, kind: Callable[..., DynamicLayer]) -> Watched:
    """A cache with the keys and values of another one.

    Args:
        kind: makes each layer.
    """
    made = Watched()
    made.layer_class_to_replicate = kind  # type: ignore[assignment]  # only called
    made.layers = [kind(*pair) for pair in pairs(past)]
    return made


@contextmanager
def last_layer_at(model: PreTrainedModel, rows: Rows, past: Watched) -> Iterator[None]:
    """Makes the last layer compute the outputs at `rows.cells` only; all others are zero.

    Layers that do not ask the cache for their keys and values are computed as they are.
    """
    layer = _layers(model)[-1]
    shape = rows.ids.shape

    def narrow(layer: torch.nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
        past.catching = True
        try:
            layer.forward(*args, **kwargs)
        except _CaughtError:
            return _chosen(args, rows.queries), _chosen(kwargs, rows.queries)
        finally:
            past.catching = False
        return None

    def widen(layer: torch.nn.Module, args: tuple, out: Any) -> Any:
        if past.caught is None:
            return out
        past.caught = None
        part = out[0] if isinstance(out, tuple) else out
        whole = part.new_zeros(shape.numel(), part.shape[-1])
        whole[rows.cells] = part.flatten(0, 1)[rows.asked]
        whole = whole.view(*shape, -1)
        return (whole, *out[1:]) if isinstance(out, tuple) else whole

    hooks = [
        layer.register_forward_pre_hook(narrow, with_kwargs=True),
        layer.register_forward_hook(widen),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        past.caught = None


def _layers(model: PreTrainedModel) -> torch.nn.ModuleList:
    """The model's layers, in order."""
    count = model.config.get_text_config(decoder=True).num_hidden_layers
    lists = [x for x in model.modules() if isinstance(x, torch.nn.ModuleList) and len(x) == count]
    return lists[0]


def _chosen(given: Any, queries: torch.Tensor) -> Any:
    """The arguments of a layer for the tokens (B, Q) of each row alone."""
    if isinstance(given, tuple | list):
        return type(given)(_chosen(x, queries) for x in given)
    if isinstance(given, dict):
        return {key: _chosen(x, queries) for key, x in given.items()}
    if not isinstance(given, torch.Tensor) or given.ndim < 2:
        return given
    size, axis = len(queries), 2 if given.ndim == 4 else 1  # a mask, or states and positions
    given = given.expand(size, *given.shape[1:])
    index = queries.view(size, *[1] * (axis - 1), -1, *[1] * (given.ndim - axis - 1))
    return given.take_along_dim(index, axis)
