"""Greedy generation in batches; an answer leaves the batch when it ends with a newline."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
import torch
from torch.nn import functional as F
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase
from transformers.cache_utils import DynamicLayer

from beft.engine.decoder.last import last_layer_at, watched
from beft.engine.decoder.likelihood import Cache, logits_at
from beft.engine.decoder.rows import Item, arrange

FEW = 7 / 8  # of the rows have an answer that goes on: then it pays to copy them


class Roomy(DynamicLayer):
    """Keys and values of one layer, with memory for later ones: a token need not copy the others.

    Attributes:
        room: number of later tokens for which memory is allocated at once.
    """

    held: tuple[torch.Tensor, ...] | None

    def __init__(
        self,
        keys: torch.Tensor | None = None,
        values: torch.Tensor | None = None,
        *,
        room: int,
    ):
        """Args:
        keys, values: (B, heads, n, width) of earlier tokens.
        room: see `Roomy`.
        """
        super().__init__()
        self.room = room
        if keys is not None and values is not None:
            self.update(keys, values)

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
        end = self.get_seq_length()
        self.held = tuple(held[indices] for held in self.held)
        self.keys, self.values = (held[:, :, :end] for held in self.held)


@lru_cache(maxsize=4)
def newline_ids(tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Tokens whose text holds a newline, and the end of text: each ends an answer."""
    found = [i for i in range(len(tokenizer)) if "\n" in tokenizer.decode([i])]
    end = tokenizer.eos_token_id
    return tuple(sorted({*found, *([] if end is None else [end])}))


@dataclass
class _Batch:
    """Answers that are not complete: S of each of B rows, which have read T tokens."""

    past: DynamicCache  # keys and values of these tokens
    # (B, 1, S, T and more) added to attention scores: what the next token of each answer sees, and
    # further on what it will see, if S stays
    mask: torch.Tensor
    positions: torch.Tensor  # (B, S) position of an answer's next token
    following: torch.Tensor  # (B, S) that token
    owner: np.ndarray  # (B, S) the number of the answer's prompt; -1 where there is none

    def keep(self, going: np.ndarray) -> None:
        """Removes answers, (B, S) says which stay; rows without any once they are many."""
        rows = np.asarray(going.any(axis=1))
        if rows.mean() > FEW:
            rows = np.ones_like(rows)
        most = int(going.sum(axis=1).max())
        self.owner = np.where(going, self.owner, -1)
        if rows.all() and most == going.shape[1]:
            return
        slots = np.argsort(~going[rows], axis=1, kind="stable")[:, :most]
        self.owner = np.take_along_axis(self.owner[rows], slots, 1)
        device = self.mask.device
        index = torch.as_tensor(slots, device=device)
        if not rows.all():
            left = torch.as_tensor(rows.nonzero()[0], device=device)
            self.past.batch_select_indices(left)
            self.mask, self.positions = self.mask[left], self.positions[left]
            self.following = self.following[left]
        self.positions = self.positions.gather(1, index)
        self.following = self.following.gather(1, index)
        self.mask = self.mask.take_along_dim(index[:, None, :, None], 2)
        foresee(self.mask, self.past.get_seq_length())

    def advance(self, model: PreTrainedModel) -> None:
        """Computes one more token of each answer."""
        end = self.past.get_seq_length() + self.following.shape[1]
        out = model(
            input_ids=self.following,
            attention_mask=self.mask[..., :end],
            position_ids=self.positions,
            past_key_values=self.past,
            use_cache=True,
        )
        self.following = out.logits.argmax(-1)
        self.positions = self.positions + 1


def foresee(mask: torch.Tensor, start: int) -> None:
    """Lets each answer see its own one of every S tokens from `start` on."""
    count, columns = mask.shape[2], mask.shape[3] - start
    own = torch.eye(count, dtype=torch.bool, device=mask.device)
    own = own.repeat(1, columns // count + 1)[:, :columns]
    mask[..., start:] = torch.zeros_like(own, dtype=mask.dtype).masked_fill_(
        ~own, torch.finfo(mask.dtype).min
    )


@torch.inference_mode()
def generate(
    model: PreTrainedModel,
    prompts: Sequence[list[int]],
    stop: Sequence[int],
    most: int,
    device: str,
    cache: Cache | None = None,
    tick: Callable[[], None] = lambda: None,
    shared: Sequence[int] = (),
) -> list[list[int]] | None:
    """Greedy continuations of prompts, computed together.

    Args:
        stop: tokens that end an answer and are not part of it.
        most: largest number of tokens of an answer.
        cache: keys and values that every row sees (a trained prefix).
        tick: called before each pass.
        shared: of each prompt, the tokens that it shares with the one before; see `Item.shared`.

    Returns:
        The new tokens of each prompt; None where logits are not finite.
    """
    tick()
    numbers = shared or [0] * len(prompts)
    items = [Item(0, p, [p[:1]], n) for p, n in zip(prompts, numbers, strict=True)]
    batch = _after_prompts(model, items, device, most, cache)
    if batch is None:
        return None
    answers: list[list[int]] = [[] for _ in prompts]
    for step in range(most):
        tokens = batch.following.cpu().numpy()
        going = (batch.owner >= 0) & ~np.isin(tokens, list(stop))
        for number, token in zip(batch.owner[going].tolist(), tokens[going].tolist(), strict=True):
            answers[number].append(token)
        if not going.any() or step + 1 == most:
            break
        batch.keep(going)
        tick()
        batch.advance(model)
    return answers


def _after_prompts(
    model: PreTrainedModel, items: Sequence[Item], device: str, most: int, cache: Cache | None
) -> _Batch | None:
    """The batch after one pass over the prompts, each of which has one candidate of one token."""
    rows = arrange(items, device, model.dtype, apart=True)
    count, width = rows.ids.shape
    ends = rows.cells[rows.predictors].cpu().numpy()  # the cell of each prompt's last token
    row = ends // width
    slot = np.arange(len(items)) - np.searchsorted(row, row)  # neighbours share a row
    owner = np.full((count, slot.max() + 1), -1)
    owner[row, slot] = np.arange(len(items))
    room = partial(Roomy, room=most * owner.shape[1])
    past = watched(None if cache is None else cache(count), room)
    start = past.get_seq_length()
    with logits_at(model, rows.cells), last_layer_at(model, rows, past):
        out = model(
            input_ids=rows.ids,
            attention_mask=F.pad(rows.mask, (start, 0)),
            position_ids=rows.positions + start,
            past_key_values=past,
            use_cache=True,
        )
    if not torch.isfinite(out.logits).all():
        return None
    of_each = torch.as_tensor(owner.clip(0), device=device)
    last = torch.as_tensor(ends, device=device)
    columns = -(-(start + width + most * owner.shape[1]) // 16) * 16  # kernels like such strides
    mask = rows.mask.new_zeros(*owner.shape, columns)
    mask[..., start : start + width] = rows.mask.view(-1, width)[last][of_each]
    foresee(mask[:, None], start + width)
    positions = rows.positions.flatten()[last] + start + 1
    following = out.logits[0].argmax(-1)[rows.predictors]
    return _Batch(past, mask[:, None], positions[of_each], following[of_each], owner)
