"""Greedy generation in batches; a row leaves the batch when its answer ends with a newline."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase
from transformers.cache_utils import DynamicLayer

from beft.engine.decoder.likelihood import Cache, logits_at


class Roomy(DynamicLayer):
    """Keys and values of one layer, with memory for later ones: a token need not copy the others.

    Attributes:
        room: number of later tokens for which memory is allocated at once.
    """

    room = 64
    held: tuple[torch.Tensor, ...] | None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Adds keys and values (B, heads, n, width); returns all of them."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.held = None
        start, before = self.get_seq_length(), self.held
        end = start + key_states.shape[2]
        if before is None or before[0].shape[2] < end:
            self.held = tuple(
                x.new_empty(*x.shape[:2], end + self.room, x.shape[3])
                for x in (key_states, value_states)
            )
            for held, states in zip(self.held, before or (), strict=False):
                held[:, :, :start] = states[:, :, :start]
        assert self.held is not None
        for held, states in zip(self.held, (key_states, value_states), strict=True):
            held[:, :, start:end] = states
        self.keys, self.values = (held[:, :, :end] for held in self.held)
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Removes all other rows."""
        assert self.held is not None, "no token has been seen yet"
        self.held = tuple(held[indices] for held in self.held)
        end = self.get_seq_length()
        self.keys, self.values = (held[:, :, :end] for held in self.held)


def with_room(past: DynamicCache) -> DynamicCache:
    """The same cache in layers that grow without a copy; layers of sliding windows stay."""
    for i, layer in enumerate(past.layers):
        if type(layer) is DynamicLayer and layer.keys is not None and layer.values is not None:
            past.layers[i] = roomy = Roomy()
            roomy.update(layer.keys, layer.values)
    return past


@lru_cache(maxsize=4)
def newline_ids(tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Tokens whose text holds a newline, and the end of text: each ends an answer."""
    found = [i for i in range(len(tokenizer)) if "\n" in tokenizer.decode([i])]
    end = tokenizer.eos_token_id
    return tuple(sorted({*found, *([] if end is None else [end])}))


@dataclass
class _Batch:
    """Rows (B) whose answers are not complete."""

    past: DynamicCache  # keys and values of the tokens so far, T of each row
    # (B, T) whether a row's next token attends to a cached token: not to padding
    seen: torch.Tensor
    positions: torch.Tensor  # (B,) position of a row's next token
    following: torch.Tensor  # (B,) that token

    def keep(self, rows: torch.Tensor) -> None:
        """Removes all other rows."""
        self.past.batch_select_indices(rows)
        self.seen, self.positions = self.seen[rows], self.positions[rows]
        self.following = self.following[rows]

    def advance(self, model: PreTrainedModel) -> None:
        """Computes one more token of each row."""
        self.seen = torch.cat([self.seen, self.seen.new_ones(len(self.seen), 1)], dim=1)
        mask = torch.zeros(self.seen.shape, dtype=model.dtype, device=self.seen.device)
        mask.masked_fill_(~self.seen, torch.finfo(model.dtype).min)
        out = model(
            input_ids=self.following[:, None],
            attention_mask=mask[:, None, None],
            position_ids=self.positions[:, None],
            past_key_values=self.past,
            use_cache=True,
        )
        self.past, self.following = out.past_key_values, out.logits[:, -1].argmax(-1)
        self.positions = self.positions + 1


@torch.inference_mode()
def generate(
    model: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    stop: Sequence[int],
    most: int,
    device: str,
    cache: Cache | None = None,
    tick: Callable[[], None] = lambda: None,
) -> list[list[int]] | None:
    """Greedy continuations of prompts, computed together.

    Args:
        stop: tokens that end an answer and are not part of it.
        most: largest number of tokens of an answer.
        cache: keys and values that every row sees (a trained prefix).
        tick: called before each pass.

    Returns:
        The new tokens of each prompt; None where logits are not finite.
    """
    tick()
    batch = _after_prompts(model, prompts, device, cache)
    if batch is None:
        return None
    ends = torch.tensor(list(stop), device=device)
    alive = list(range(len(prompts)))
    answers: list[list[int]] = [[] for _ in prompts]
    for step in range(most):
        going = (~torch.isin(batch.following, ends)).nonzero()[:, 0]
        for row, token in zip(going.tolist(), batch.following[going].tolist(), strict=True):
            answers[alive[row]].append(token)
        if not len(going) or step + 1 == most:
            break
        if len(going) < len(alive):
            batch.keep(going)
            alive = [alive[i] for i in going.tolist()]
        tick()
        batch.advance(model)
    return answers


def _after_prompts(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], device: str, cache: Cache | None
) -> _Batch | None:
    """The batch after one pass over the prompts, which are padded at their end."""
    lengths = torch.tensor([len(p) for p in prompts], device=device)
    width = int(lengths.max())
    ids = torch.zeros(len(prompts), width, dtype=torch.int64, device=device)
    for row, prompt in enumerate(prompts):
        ids[row, : len(prompt)] = torch.tensor(prompt)
    past = None if cache is None else cache(len(prompts))
    start = 0 if past is None else past.get_seq_length()
    positions = torch.arange(width, device=device)
    later = positions[None] > positions[:, None]
    hidden = later | (positions[None, None] >= lengths[:, None, None])
    hidden &= positions[None, None] != positions[:, None]  # a padded cell sees itself: no empty row
    shape = (len(prompts), 1, width, start + width)
    mask = torch.zeros(shape, dtype=model.dtype, device=device)
    mask[..., start:].masked_fill_(hidden[:, None], torch.finfo(model.dtype).min)
    with logits_at(model, torch.arange(len(prompts), device=device) * width + lengths - 1):
        out = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions[None].expand_as(ids) + start,
            past_key_values=past,
            use_cache=True,
        )
    if not torch.isfinite(out.logits).all():
        return None
    prefix = torch.ones(len(prompts), start, dtype=torch.bool, device=device)
    seen = torch.cat([prefix, positions[None] < lengths[:, None]], dim=1)
    past, following = with_room(out.past_key_values), out.logits[0].argmax(-1)
    return _Batch(past, seen, lengths + start, following)
