"""Greedy generation in batches: prompts side by side, each ends at its newline, all then early."""

from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from transformers.cache_utils import DynamicLayer

from beft.engine.decoder.likelihood import Cache, asking


class Roomy(DynamicLayer):
    """Keys and values of one layer with room for those to come: a token need not copy the others.

    Attributes:
        room: tokens to come for which memory is taken at once.
    """

    room = 64

    def update(self, key_states, value_states, *args, **kwargs):
        """Adds keys and values (B, heads, n, width); returns all of them."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.held = None
        start = self.get_seq_length()
        end = start + key_states.shape[2]
        if self.held is None or self.held[0].shape[2] < end:
            before = (self.keys, self.values)
            self.held = tuple(
                x.new_empty(*x.shape[:2], end + self.room, x.shape[3])
                for x in (key_states, value_states)
            )
            for held, states in zip(self.held, before if start else (), strict=False):
                held[:, :, :start] = states
        for held, states in zip(self.held, (key_states, value_states), strict=True):
            held[:, :, start:end] = states
        self.keys, self.values = (held[:, :, :end] for held in self.held)
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keeps these rows alone."""
        self.held = tuple(held[indices] for held in self.held)
        end = self.get_seq_length()
        self.keys, self.values = (held[:, :, :end] for held in self.held)


def with_room(past):
    """The same cache in layers that grow without being copied; sliding windows stay as they are."""
    for i, layer in enumerate(past.layers):
        if type(layer) is DynamicLayer:
            past.layers[i] = Roomy()
            past.layers[i].update(layer.keys, layer.values)
    return past


def newline_ids(tokenizer) -> tuple[int, ...]:
    """Tokens whose text holds a newline, and the end of text: each ends an answer."""
    return _newline_ids(tokenizer)


@lru_cache(maxsize=4)
def _newline_ids(tokenizer) -> tuple[int, ...]:
    found = [i for i in range(len(tokenizer)) if "\n" in tokenizer.decode([i])]
    end = tokenizer.eos_token_id
    return tuple(sorted({*found, *([] if end is None else [end])}))


@torch.inference_mode()
def generate(
    model,
    prompts: Sequence[Sequence[int]],
    stop: Sequence[int],
    most: int,
    device: str,
    cache: Cache | None = None,
    tick: Callable[[], None] = lambda: None,
) -> list[list[int]] | None:
    """Greedy continuations of prompts, computed together.

    Rows are padded behind their prompt; a cache keeps what has been computed, and rows whose
    answer is complete leave it.

    Args:
        stop: tokens that end an answer and are not part of it.
        most: tokens of an answer at most.
        cache: keys and values that every row sees (a trained prefix).
        tick: called before each pass.

    Returns:
        The new tokens of each prompt; None where logits are not finite.
    """
    dtype = model.dtype
    lowest = torch.finfo(dtype).min
    lengths = torch.tensor([len(p) for p in prompts], device=device)
    width = int(lengths.max())
    ids = torch.zeros(len(prompts), width, dtype=torch.int64, device=device)
    for row, prompt in enumerate(prompts):
        ids[row, : len(prompt)] = torch.tensor(prompt)
    past = None if cache is None else cache(len(prompts))
    start = 0 if past is None else past.get_seq_length()
    places = torch.arange(width, device=device)
    hidden = (places[None] > places[:, None]) | (places[None, None] >= lengths[:, None, None])
    hidden &= places[None, None] != places[:, None]  # a padded cell sees itself: no empty row
    mask = torch.zeros(len(prompts), 1, width, start + width, dtype=dtype, device=device)
    mask[..., start:].masked_fill_(hidden[:, None], lowest)
    # A table of which cached cells each row may see from now on.
    seen = torch.cat(
        [torch.ones(len(prompts), start, dtype=torch.bool, device=device),
         places[None] < lengths[:, None]], dim=1,
    )  # fmt: skip
    tick()
    last = torch.arange(len(prompts), device=device) * width + lengths - 1
    with asking(model, last):
        out = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=places[None].expand_as(ids) + start,
            past_key_values=past,
            use_cache=True,
        )
    if not torch.isfinite(out.logits).all():
        return None
    past, following = with_room(out.past_key_values), out.logits[0].argmax(-1)
    ends = torch.tensor(list(stop), device=device)
    alive = list(range(len(prompts)))
    answers: list[list[int]] = [[] for _ in prompts]
    for step in range(most):
        going = (~torch.isin(following, ends)).nonzero()[:, 0]
        for place, token in zip(going.tolist(), following[going].tolist(), strict=True):
            answers[alive[place]].append(token)
        if not len(going) or step + 1 == most:
            break
        if len(going) < len(alive):
            past.batch_select_indices(going)
            alive = [alive[i] for i in going.tolist()]
            seen, lengths, following = seen[going], lengths[going], following[going]
        seen = torch.cat([seen, seen.new_ones(len(alive), 1)], dim=1)
        mask = torch.zeros(seen.shape, dtype=dtype, device=device).masked_fill_(~seen, lowest)
        tick()
        out = model(
            input_ids=following[:, None],
            attention_mask=mask[:, None, None],
            position_ids=(lengths + start + step)[:, None],
            past_key_values=past,
            use_cache=True,
        )
        past, following = out.past_key_values, out.logits[:, -1].argmax(-1)
    return answers
