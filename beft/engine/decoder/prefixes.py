"""Prompts that begin with the same tokens: these tokens are computed once.

Demonstrations of in-context learning, or the passage of several questions, precede many prompts.
Few prompts share a row with their common beginning. Where many have it, its keys and values are
computed in a pass of their own and are what each row sees first.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import DynamicCache, PreTrainedModel

from beft.data.prompts import Prompts, common
from beft.engine.decoder.last import Given, Watched, pairs
from beft.engine.decoder.likelihood import Cache, logits_at
from beft.engine.decoder.rows import Item, arrange

LEAST = 16  # tokens: a shorter common beginning is not worth another row
OWN = 512  # tokens of a row beside its shared ones


@dataclass(frozen=True)
class Family:
    """Prompts with the same first tokens."""

    rows: list[int]  # their row numbers
    shared: int  # how many tokens; 0 for a prompt on its own


def families(prompts: Sequence[list[int]]) -> list[Family]:
    """Divides prompts so that the tokens that need not be computed again are as many as possible.

    Each prompt keeps one token of its own.
    """
    order = sorted(range(len(prompts)), key=prompts.__getitem__)
    ends: list[list[tuple[int, int]]] = [[] for _ in range(len(order) + 1)]
    open_: list[tuple[int, int]] = [(0, 0)]  # (first place in the order, common tokens), nested
    for place in range(1, len(order) + 1):
        pair = [prompts[i] for i in order[place - 1 : place + 1]]
        alike = min(common(*pair), *(len(p) - 1 for p in pair)) if len(pair) == 2 else 0
        alike = alike if alike >= LEAST else 0
        start = place - 1
        while open_[-1][1] > alike:
            start, shared = open_.pop()
            ends[place].append((start, shared))
        if open_[-1][1] < alike:
            open_.append((start, alike))
    best, chosen = [0], [(0, 0)]  # of the first prompts of the order: saved tokens, last family
    for place in range(1, len(order) + 1):
        options = [(best[place - 1], place - 1, 0)]
        options += [(best[s] + (place - s - 1) * n, s, n) for s, n in ends[place]]
        saved, start, shared = max(options)
        best.append(saved)
        chosen.append((start, shared))
    found, place = [], len(order)
    while place:
        start, shared = chosen[place]
        found.append(Family(order[start:place], shared))
        place = start
    return found[::-1]


@dataclass(frozen=True)
class Unit:
    """Examples in one row, after the tokens that they share there."""

    rows: list[int]  # row numbers in `Part.data`
    shared: int
    tokens: int  # how many the model reads


@dataclass(frozen=True)
class Part:
    """Examples that are answered after the same cached tokens."""

    prefix: list[int]  # those tokens; empty for examples that have none
    data: Prompts  # the examples, without them
    rows: list[int]  # their row numbers in the split
    units: list[Unit]  # all of them, divided

    def __len__(self) -> int:
        return len(self.units)

    def length(self, unit: int) -> int:
        """Tokens that the model reads for a unit."""
        return self.units[unit].tokens


def parts(data: Prompts, room: int, worth: int) -> list[Part]:
    """Divides a split.

    Args:
        room: tokens that will be generated for each example.
        worth: how many tokens must be saved by keys and values that are computed apart.
    """
    many: list[tuple[Family, list[Unit]]] = []
    few: list[tuple[Family, list[Unit]]] = []
    for family in families(data.prompts):
        units = _units(data, family, room)
        (many if family.shared * (len(units) - 1) > worth else few).append((family, units))
    found = []
    if few:
        rows = [row for family, _ in few for row in family.rows]
        place = {row: i for i, row in enumerate(rows)}
        units = [
            Unit([place[row] for row in unit.rows], unit.shared, unit.tokens)
            for _, of in few
            for unit in of
        ]
        found.append(Part([], data.take(np.array(rows)), rows, units))
    for family, _ in many:
        own = data.take(np.array(family.rows)).without(family.shared)
        alone = [Family([i], 0) for i in range(len(family.rows))]
        units = [unit for one in alone for unit in _units(own, one, room)]
        prefix = data.prompts[family.rows[0]][: family.shared]
        found.append(Part(prefix, own, family.rows, units))
    return found


def _units(data: Prompts, family: Family, room: int) -> list[Unit]:
    """A family in as few rows as take at most `OWN` tokens of its own each, or one example."""
    found: list[list[int]] = []
    left = 0
    for row in family.rows:
        needs = data.length(row) - family.shared + room
        if not found or needs > left:
            found.append([])
            left = OWN
        found[-1].append(row)
        left -= needs
    return [
        Unit(
            rows,
            family.shared if len(rows) > 1 else 0,
            sum(map(data.length, rows)) - family.shared * (len(rows) - 1),
        )
        for rows in found
    ]


def cached(model: PreTrainedModel, tokens: list[int], device: str, cache: Cache | None) -> Cache:
    """Keys and values of these tokens, in every layer, behind those of a trained prefix."""
    rows = arrange([Item(0, tokens, [tokens[:1]])], device, model.dtype)
    past = DynamicCache() if cache is None else cache(1)
    start = past.get_seq_length()
    with logits_at(model, rows.cells):
        model(
            input_ids=rows.ids,
            position_ids=rows.positions + start,
            attention_mask=torch.nn.functional.pad(rows.mask, (start, 0)),
            past_key_values=past,
            use_cache=True,
        )
    found = pairs(past)

    def rows_of(size: int) -> DynamicCache:
        made = Watched()
        made.layers = [Given(*(x.expand(size, -1, -1, -1) for x in pair)) for pair in found]
        return made

    return rows_of
