"""Finds the rows of q, k and v in a fused projection, for each family of models."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedConfig


@dataclass(frozen=True)
class Rows:
    """Rows of a fused projection that belong to one term: `count` runs of `width`, `step` apart."""

    start: int  # first row of the first run
    width: int  # rows in each run
    step: int = 0  # from the start of one run to the start of the next; 0 where there is one run
    count: int = 1  # number of runs

    def index(self) -> np.ndarray:
        """The rows, ascending, (width * count,) int64; heads in the order of the attention."""
        starts = self.start + self.step * np.arange(self.count, dtype=np.int64)
        return (starts[:, None] + np.arange(self.width, dtype=np.int64)).ravel()


Layout = dict[str, Rows]


def fused_projection(config: PreTrainedConfig | None) -> tuple[str, Layout] | None:
    """Name of the fused linear in an attention module, and term -> its rows; None: not fused."""
    known = _FUSED.get(getattr(config, "model_type", ""))
    return (known[0], known[1](config)) if known and config is not None else None


def covers(layout: Layout, rows: int) -> bool:
    """Whether each row of a fused projection belongs to exactly one term."""
    every = np.concatenate([part.index() for part in layout.values()])
    return len(every) == rows and np.array_equal(np.sort(every), np.arange(rows))


def _thirds(config: PreTrainedConfig) -> Layout:
    """All of q, then all of k, then all of v, each as wide as all heads."""
    width = config.num_attention_heads * _head_width(config)
    return {"q": Rows(0, width), "k": Rows(width, width), "v": Rows(2 * width, width)}


def _phi3(config: PreTrainedConfig) -> Layout:
    """All of q, then all of k, then all of v; keys and values have fewer heads."""
    width = getattr(config, "head_dim", config.hidden_size // config.num_attention_heads)
    q, kv = config.num_attention_heads * width, config.num_key_value_heads * width
    return {"q": Rows(0, q), "k": Rows(q, kv), "v": Rows(q + kv, kv)}


def _grouped(config: PreTrainedConfig, groups: int) -> Layout:
    """Group by group: the query heads that share a key and a value, that key, that value."""
    width, queries = _head_width(config), config.num_attention_heads // groups
    step = (queries + 2) * width
    return {
        "q": Rows(0, queries * width, step, groups),
        "k": Rows(queries * width, width, step, groups),
        "v": Rows((queries + 1) * width, width, step, groups),
    }


def _each_head(config: PreTrainedConfig) -> Layout:
    return _grouped(config, config.num_attention_heads)


def _falcon(config: PreTrainedConfig) -> Layout:
    if config.new_decoder_architecture:
        return _grouped(config, config.num_kv_heads)
    return _grouped(config, 1) if config.multi_query else _each_head(config)


def _bigcode(config: PreTrainedConfig) -> Layout:
    return _grouped(config, 1) if config.multi_query else _each_head(config)


def _head_width(config: PreTrainedConfig) -> int:
    """As these attentions compute it; a `head_dim` of config.json they do not read."""
    return config.hidden_size // config.num_attention_heads


# Model type -> name of the fused linear and its layout: the reshapes of each attention's `forward`
# in transformers. The name alone does not tell: two families of one name order their rows apart.
_FUSED: dict[str, tuple[str, Callable[[PreTrainedConfig], Layout]]] = {
    "bloom": ("query_key_value", _each_head),
    "falcon": ("query_key_value", _falcon),
    "gpt2": ("c_attn", _thirds),
    "gpt_bigcode": ("c_attn", _bigcode),
    "gpt_neox": ("query_key_value", _each_head),
    "modernbert": ("Wqkv", _thirds),
    "mpt": ("Wqkv", _thirds),
    "phi3": ("qkv_proj", _phi3),
}
