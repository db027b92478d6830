"""Dropout of a decoder as a function of position, independent of the rest of the pass."""

import math

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from beft.engine.noise import call_key, column_keys, factors

_ODD = -1640531535  # 0x9E3779B1 as int32: a token as key gets another number than as query


class Dropping(TorchFunctionMode):
    """A context in which every dropout of the model follows from the keys of its tokens.

    It intercepts `torch.nn.functional`, which all models of transformers call for dropout.
    """

    def __init__(self, keys: torch.Tensor):
        """Args:
        keys: (B, W) int32 of each token, from `noise.token_keys`.
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

    def _dropout(
        self, x: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> torch.Tensor:
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
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: torch.Tensor,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> torch.Tensor:
        """Computes what the fused function does, with these factors."""
        if enable_gqa:
            times = query.shape[1] // key.shape[1]
            key, value = (x.repeat_interleave(times, 1) for x in (key, value))
        scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
        scores = (query @ key.transpose(-1, -2)).float() * scale + attn_mask.float()
        share = scores.softmax(-1) * self._shares(scores.shape, dropout_p)
        return share.to(value.dtype) @ value
