"""Dropout of a decoder's pass as a function of place: whatever else is in the pass, the same."""

import math

import numpy as np
import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from beft.engine.noise import call_key, column_keys, factors, token_keys

_ODD = -1640531535  # 0x9E3779B1 as int32: makes the key of a token seen differ from its own


class Dropping(TorchFunctionMode):
    """Within it, every dropout of the model draws from the keys of the tokens of its rows.

    Models of the library call `torch.nn.functional` from many places; this is the one they share.
    """

    def __init__(self, keys: torch.Tensor):
        """Args:
        keys: (B, W) int32 of each token, from `row_keys`.
        """
        super().__init__()
        self.keys, self.calls = keys, 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is F.dropout:
            return self._dropout(*args, **kwargs)
        if func is F.scaled_dot_product_attention and kwargs.get("dropout_p"):
            return self._attention(*args, **kwargs)
        return func(*args, **kwargs)

    def _next(self) -> int:
        self.calls += 1
        return call_key(self.calls)

    def _dropout(self, x, p=0.5, training=True, inplace=False):
        if not training or not p:
            return x
        if x.ndim == 4:  # attention probabilities (B, heads, W, W)
            return x * self._shares(x.shape, p).to(x.dtype)
        columns = column_keys(x.shape[-1], str(x.device)) ^ self._next()
        return x * factors(self.keys[..., None], columns, p).view(x.shape).to(x.dtype)

    def _shares(self, shape: torch.Size, p: float) -> torch.Tensor:
        """Factors (B, heads, W, P + W) of attention probabilities; a prefix P is never dropped."""
        heads, prefix = shape[1], shape[3] - shape[2]
        of_heads = column_keys(heads, str(self.keys.device)) ^ self._next()
        seen = (self.keys * _ODD)[:, None, None, :] ^ of_heads[None, :, None, None]
        return F.pad(factors(self.keys[:, None, :, None], seen, p), (prefix, 0), value=1.0)

    def _attention(
        self, query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None,
        enable_gqa=False,
    ):  # fmt: skip
        """What the fused function computes, with our factors."""
        if enable_gqa:
            times = query.shape[1] // key.shape[1]
            key, value = (x.repeat_interleave(times, 1) for x in (key, value))
        scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
        scores = (query @ key.transpose(-1, -2)).float() * scale + attn_mask.float()
        share = scores.softmax(-1) * self._shares(scores.shape, dropout_p)
        return share.to(value.dtype) @ value


def row_keys(seeds: list[int], numbers: list[int], cells: list[np.ndarray], shape) -> np.ndarray:
    """The key of each cell of rows, int32.

    Args:
        seeds: of the run of each example, for this step.
        numbers: of each example within its run's batch.
        cells: of each example, flat places of its tokens in the order in which they are its own.
        shape: (B, W) of the rows.
    """
    keys = np.zeros(math.prod(shape), np.int32)
    keys[np.concatenate(cells)] = token_keys(seeds, numbers, [len(c) for c in cells])
    return keys.reshape(shape)
