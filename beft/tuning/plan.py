"""What a race will run, fixed beforehand from a measured cost and the minutes that are given."""

import math
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from beft.study.layout import Layout
from beft.study.recipe import Recipe
from beft.tuning.candidates import PAIRS, Candidate, candidates

STEPS = 240  # of the longest runs: enough for biases at these rates, whatever the number of rows
FEWEST, MOST = 3, 24  # epochs
SURE = 150  # held-out rows that a first round should at least look at
SPARE = 0.85  # of the minutes; the rest is for what was not foreseen
CROWDED = 1.25  # a process beside others is slower than the one that was measured
# Richer plans first: rates of each way, the share of the epochs in the first round, finalists, and
# the share of the epochs in the last round.
LADDER = (
    *((4, 0.5, 8, 1.0), (4, 0.5, 6, 1.0), (3, 0.5, 6, 1.0), (3, 0.5, 4, 1.0), (3, 0.34, 4, 1.0)),
    *((2, 0.34, 4, 1.0), (2, 0.34, 3, 1.0), (2, 0.34, 3, 0.67), (2, 0.25, 3, 0.5)),
    *((1, 0.25, 3, 0.5), (1, 0.2, 3, 0.34), (1, 0.1, 2, 0.2)),
)


@dataclass(frozen=True)
class Cost:
    """Seconds that one process needs."""

    trained: float  # for a token that is trained on
    read: float  # for a token that is evaluated
    start: float = 10.0  # before its first step


@dataclass(frozen=True)
class Load:
    """How much there is to read, on average over folds."""

    rows: int  # trained on
    trained: int  # their tokens
    held_rows: int
    held: int  # tokens of the held-out rows


@dataclass(frozen=True)
class Plan:
    """Two rounds: all candidates on some folds, then the best of each kind on all folds."""

    rates: int  # of each way to tune
    first_folds: int
    first_epochs: int
    finalists: int
    folds: int
    epochs: int
    seconds: float  # estimated, of the race and of the last training

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def runs(self, kind: str) -> int:
        """How many runs it has."""
        return self.first_folds * len(candidates(kind, self.rates)) + self.folds * self.finalists


def seconds(candidate: Candidate, epochs: int, load: Load, cost: Cost) -> float:
    """An estimate of a run's time in a pack."""
    if not candidate.trains:
        return (load.trained + load.held) * cost.read
    step = cost.trained if candidate.technique != "head_only" else 2 * cost.read
    again = load.trained if candidate.objective == PAIRS else 0  # embedded to fit the head
    return epochs * (load.trained * step + (load.held + again) * cost.read)


def make_plan(cost: Cost, load: Load, folds: int, kind: str, minutes: float, workers: int) -> Plan:
    """The richest plan of `LADDER` that fits into the minutes; else the last one."""
    epochs = min(MOST, max(FEWEST, math.ceil(STEPS / max(1, math.ceil(load.rows / 16)))))
    first = min(folds, math.ceil(SURE / max(1, load.held_rows)))
    for rates, share, finalists, whole in LADDER:
        many = max(1, round(whole * epochs))
        few = min(many, max(2, round(share * whole * epochs)))  # one would favour high rates
        made = Plan(rates, first, few, finalists, folds, many, 0.0)
        made = replace(made, seconds=round(_estimate(made, cost, load, kind, workers)))
        if made.seconds <= SPARE * 60 * minutes:
            return made
    return made


def _estimate(plan: Plan, cost: Cost, load: Load, kind: str, workers: int) -> float:
    every = candidates(kind, plan.rates)
    one = max(seconds(c, 1, load, cost) for c in every)
    work = plan.first_folds * sum(seconds(c, plan.first_epochs, load, cost) for c in every)
    work += plan.folds * plan.finalists * one * plan.epochs
    beside = CROWDED if workers > 1 else 1.0
    last = one * plan.epochs * plan.folds / max(1, plan.folds - 1)
    return cost.start + beside * work / workers + last + cost.start


def measure(root: Path, recipe: Recipe, device: str) -> Cost:
    """Times a few steps and an evaluation of eight runs that share a pass."""
    import torch

    from beft.engine.dispatch import engine, packs_together, serves
    from beft.training.shared import Loader

    torch.set_num_threads(1)
    began = time.perf_counter()
    loader = Loader(Layout(root), device)
    model, data = loader.model(recipe), loader.data(recipe)
    flat = packs_together(recipe) and serves(model, device)
    runs = 8 if flat else 1
    recipes = [replace(recipe, seed=seed) for seed in range(runs)]
    used = engine(model, recipes, [data.train] * runs, device, flat)
    size = min(recipe.training["batch_size"], len(data.train))
    rows = [np.arange(step * size, (step + 1) * size) % len(data.train) for step in range(4)]
    spent = []
    try:
        for step, batch in enumerate(rows):
            start = time.perf_counter()
            used.step(dict.fromkeys(range(runs), batch), dict.fromkeys(range(runs), step))
            spent.append(time.perf_counter() - start)
        tokens = runs * sum(data.train.length(row) for row in np.concatenate(rows[1:]))
        some = data.train.take(np.arange(min(256, len(data.train))))
        used.predict(some, [0])
        start = time.perf_counter()
        used.predict(some, [0])
        read = time.perf_counter() - start
    finally:
        used.close()
    start = time.perf_counter() - began
    each = read / max(1, sum(some.length(row) for row in range(len(some))))
    return Cost(sum(spent[1:]) / max(1, tokens), each, start + 6.0)
