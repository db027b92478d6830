"""What a race will run, fixed beforehand from a measured cost and the minutes that are given."""

import math
import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from beft.study.layout import Layout
from beft.study.recipe import Recipe
from beft.tuning.candidates import PAIRS, Candidate, candidates

STEPS = 240  # of a usual run: enough for biases at these rates, whatever the number of rows
FEWEST, MOST = 3, 24  # epochs of it
SPARE = 0.9  # of the minutes; the rest is for what was not foreseen
CROWDED = 1.25  # a process beside others is slower than the one that was measured
END = 12.0  # seconds for the page, and for the adapter, which is loaded again and answers
WIDER = 1.3  # the time of a step for all biases, for one that a single term takes
EACH, EPOCH = 0.15, 0.04  # seconds for a run and for an epoch, however short


@dataclass(frozen=True)
class Rung:
    """How much a plan has of everything."""

    rates: int  # of each way
    share: float  # of the epochs, in the first round
    finalists: int  # at least; as many more as there is time for
    whole: float  # share of the usual epochs in the last round
    sure: int = 150  # held-out rows that the first round looks at, if there are as many
    ways: int | None = None  # the likeliest ones; None for all


# Richer ones first.
LADDER = (
    *(Rung(4, 0.5, 12, 2.0, 600), Rung(4, 0.5, 10, 1.5, 450), Rung(4, 0.5, 8, 1.5, 300)),
    *(Rung(4, 0.5, 8, 1.0, 300), Rung(4, 0.5, 6, 1.0), Rung(3, 0.5, 6, 1.0), Rung(3, 0.5, 5, 1.0)),
    *(Rung(2, 0.5, 5, 1.0), Rung(2, 0.34, 4, 1.0), Rung(2, 0.34, 3, 1.0), Rung(2, 0.34, 3, 0.67)),
    # Little time is better spent on enough epochs of few ways than on a glance at all.
    *(Rung(1, 0.34, 4, 1.0, ways=6), Rung(1, 0.34, 3, 0.75, 80, 6), Rung(1, 0.34, 3, 0.75, 80, 4)),
    *(Rung(1, 0.34, 3, 0.5, 40, 4), Rung(1, 0.34, 2, 0.5, 40, 3), Rung(1, 0.3, 2, 0.3, 40, 3)),
    Rung(1, 0.2, 2, 0.2, 40, 3),
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
    ways: int | None = None  # that are raced, the likeliest ones; None for all
    cut: str = ""  # what there is no time for; empty where nothing is left out

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def every(self, kind: str) -> list[Candidate]:
        """What is raced."""
        return candidates(kind, self.rates, self.ways)

    def runs(self, kind: str) -> int:
        """How many runs it has."""
        return self.first_folds * len(self.every(kind)) + self.folds * self.finalists


def seconds(candidate: Candidate, epochs: int, load: Load, cost: Cost) -> float:
    """An estimate of a run's time in a pack."""
    if not candidate.trains:
        return EACH + (load.trained + load.held) * cost.read
    step = cost.trained if candidate.technique != "head_only" else 2 * cost.read
    step *= WIDER if candidate.technique == "all_biases" else 1.0
    again = load.trained if candidate.objective == PAIRS else 0  # embedded to fit the head
    return EACH + epochs * (EPOCH + load.trained * step + (load.held + again) * cost.read)


def make_plan(cost: Cost, load: Load, folds: int, kind: str, minutes: float, workers: int) -> Plan:
    """The richest plan of `LADDER` that fits into the minutes; else the last one.

    More finalists use the time that is left.
    """
    usual = min(MOST, max(FEWEST, math.ceil(STEPS / max(1, math.ceil(load.rows / 16)))))
    given = SPARE * 60 * minutes
    estimate = partial(_estimate, cost=cost, load=load, kind=kind, workers=workers)
    for rung in LADDER:
        first = min(folds, math.ceil(rung.sure / max(1, load.held_rows)))
        many = max(1, round(rung.whole * usual))
        few = min(many, max(2, round(rung.share * many)))  # one would favour high rates
        most = len(candidates(kind, rung.rates, rung.ways))
        finalists = min(rung.finalists, most)
        made = Plan(rung.rates, first, few, finalists, folds, many, 0.0, rung.ways)
        if estimate(made) <= given:
            break
    while made.finalists < most and estimate(more := _with_one_more(made)) <= given:
        made = more
    return replace(made, seconds=round(estimate(made)), cut=_cut(made, kind, usual))


def _with_one_more(plan: Plan) -> Plan:
    return replace(plan, finalists=plan.finalists + 1)


def _cut(plan: Plan, kind: str, usual: int) -> str:
    """What the plan has fewer of than it would with more minutes, in a few words."""
    rates, ways = LADDER[0].rates, len({c.family for c in candidates(kind, 1)})
    raced = len({c.family for c in plan.every(kind)})
    parts = [
        f"{raced} of {ways} ways" * (raced < ways),
        f"{plan.rates} of {rates} rates" * (plan.rates < rates),
        f"{plan.finalists} of {raced} ways on all folds" * (plan.finalists < raced),
        f"{plan.epochs} of {usual} epochs" * (plan.epochs < usual),
    ]
    return ", ".join(filter(None, parts))


def _estimate(plan: Plan, cost: Cost, load: Load, kind: str, workers: int) -> float:
    every = plan.every(kind)
    work = plan.first_folds * sum(seconds(c, plan.first_epochs, load, cost) for c in every)
    # Which ways come into the last round is not known: the dearest of each may.
    each = {c.family: seconds(c, plan.epochs, load, cost) for c in every}
    dearest = sorted(each.values(), reverse=True) * plan.rates
    work += plan.folds * sum(dearest[: plan.finalists])
    beside = CROWDED if workers > 1 else 1.0
    last = dearest[0] * plan.folds / max(1, plan.folds - 1)
    return cost.start + beside * work / workers + cost.start + last + END


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
    start = time.perf_counter() - began
    size = min(recipe.training["batch_size"], len(data.train))
    rows = [np.arange(step * size, (step + 1) * size) % len(data.train) for step in range(4)]
    spent = []
    try:
        for step, batch in enumerate(rows):
            began = time.perf_counter()
            used.step(dict.fromkeys(range(runs), batch), dict.fromkeys(range(runs), step))
            spent.append(time.perf_counter() - began)
        tokens = runs * sum(data.train.length(row) for row in np.concatenate(rows[1:]))
        some = data.train.take(np.arange(min(256, len(data.train))))
        used.predict(some, [0])
        began = time.perf_counter()
        used.predict(some, [0])
        read = time.perf_counter() - began
    finally:
        used.close()
    each = read / max(1, sum(some.length(row) for row in range(len(some))))
    return Cost(sum(spent[1:]) / max(1, tokens), each, start + 6.0)
