"""What is raced: ways to tune a model, each with a grid of learning rates."""

from dataclasses import dataclass, replace
from typing import Any

from beft.tuning.targets import PROMPTS, REGRESSION, UNBALANCED

Settings = dict[str, Any]

PAIRS = "contrastive_pairs"
UNTRAINED = ("linear_probe", "zero_shot")  # the cheap baselines of encoders and of decoders

TERMS = ("b_v", "b_q", "b_k")  # one bias of a layer each; v first because the paper finds it best
WEIGHTED = ("linear_probe", "b_v", "all_biases")  # raced with balanced class weights, too

# The share of a model that a technique trains grows along this list.
SIMPLEST = ("zero_shot", "linear_probe", "head_only", *TERMS, "all_biases")
NAMES = {
    "zero_shot": "zero-shot",
    "linear_probe": "linear probe",
    "head_only": "head alone",
    "all_biases": "all biases",
}

# Technique, pooling and objective, the likeliest to be chosen first: a plan that has little time
# takes fewer of them. What is not named comes last.
LIKELIEST = (
    *(("zero_shot", "", ""), ("b_v", "", ""), ("all_biases", "", "")),
    *(("linear_probe", "mean", ""), ("all_biases", "mean", ""), ("b_v", "mean", "")),
    *(("all_biases", "mean", PAIRS), ("b_v", "mean", PAIRS), ("head_only", "mean", "")),
)

# Learning rates, the likeliest first: a plan that has less time takes fewer of them. Many biases
# together need smaller ones (docs/objectives.md).
BIAS_RATES = (4e-3, 1e-2, 2e-3, 2e-2)
ALL_RATES = (1e-3, 2e-3, 5e-4, 4e-3)
HEAD_RATES = (1e-2, 3e-2, 3e-3)
# The same of decoders, which have no head that learns beside the biases.
PROMPT_RATES = (1e-2, 4e-3, 2e-2, 1e-3)
ALL_PROMPT_RATES = (4e-3, 1e-3, 1e-2, 5e-4)


@dataclass(frozen=True)
class Candidate:
    """A way to tune: what is trained, on what the head reads, by which loss, at which rate."""

    technique: str
    pooling: str  # "mean" or "first"; "" of a decoder, which has no head
    objective: str = ""  # "" for cross-entropy or squared error, or `PAIRS`
    rate: float = 0.0  # 0 where nothing is trained by gradients
    weighted: bool = False  # whether rows of rare classes count more

    @property
    def trains(self) -> bool:
        """Whether gradients train anything."""
        return self.technique not in UNTRAINED

    @property
    def way(self) -> tuple[str, str, str]:
        """What is trained, on what and by which loss, at any rate and with any weights."""
        return self.technique, self.pooling, self.objective

    @property
    def family(self) -> "Candidate":
        """The candidate without its rate."""
        return replace(self, rate=0.0)

    @property
    def simplicity(self) -> tuple[int, bool, bool, bool]:
        """Smaller for what trains less; at equal, for the plain loss and mean pooling."""
        objective, first = bool(self.objective), self.pooling != "mean"
        return SIMPLEST.index(self.technique), objective, self.weighted, first

    @property
    def share(self) -> int:
        """Smaller for what trains a smaller share of the model; equal for single terms."""
        return SIMPLEST.index(TERMS[0] if self.technique in TERMS else self.technique)

    def costs_as(self, other: "Candidate") -> bool:
        """Whether both train as much and are alike in all but the technique and the rate."""
        alike = replace(self.family, technique="") == replace(other.family, technique="")
        return alike and self.share == other.share

    def __str__(self) -> str:
        words = [NAMES.get(self.technique, self.technique)]
        words += ["first token"] * (self.pooling == "first")
        words += ["pairs"] * (self.objective == PAIRS)
        words += ["weighted"] * self.weighted
        return ", ".join(words)

    def settings(self, epochs: int) -> Settings:
        """Its training settings, as a study writes them."""
        given: Settings = {"class_weights": "balanced"} if self.weighted else {}
        if not self.trains:
            return given
        given |= {"learning_rate": self.rate, "epochs": epochs}
        if self.pooling == "mean":
            given["pooling"] = "mean"
        if self.objective:
            given["objective"] = self.objective
        return given


def candidates(kind: str, rates: int, ways: int | None = None) -> list[Candidate]:
    """What is raced.

    Args:
        kind: of the task: CLASSES, UNBALANCED or REGRESSION of an encoder, or PROMPTS that a
            decoder answers.
        rates: of each way that trains.
        ways: the number of ways, the likeliest; None for all.
    """
    found = _of_decoders(rates) if kind == PROMPTS else _of_encoders(kind, rates)
    known = sorted(dict.fromkeys(c.way for c in found), key=_rank)
    return [c for c in found if c.way in known[:ways]]


def _rank(way: tuple[str, str, str]) -> int:
    return LIKELIEST.index(way) if way in LIKELIEST else len(LIKELIEST)


def _of_encoders(kind: str, rates: int) -> list[Candidate]:
    found = [Candidate("linear_probe", "mean")]
    grids: list[tuple[str, tuple[float, ...]]] = [("head_only", HEAD_RATES)]
    grids += [(term, BIAS_RATES) for term in ("b_v", "b_q", "b_k")]
    grids += [("all_biases", ALL_RATES)]
    for technique, grid in grids:
        found += [Candidate(technique, "mean", rate=rate) for rate in grid[:rates]]
    for technique, grid in (("b_v", BIAS_RATES), ("all_biases", ALL_RATES)):
        found += [Candidate(technique, "first", rate=rate) for rate in grid[:rates]]
        if kind != REGRESSION:
            found += [Candidate(technique, "mean", PAIRS, rate) for rate in grid[: min(rates, 3)]]
    if kind == UNBALANCED:
        plain = [c for c in found if c.pooling == "mean" and not c.objective]
        found += [replace(c, weighted=True) for c in plain if c.technique in WEIGHTED]
    return found


def _of_decoders(rates: int) -> list[Candidate]:
    found = [Candidate("zero_shot", "")]
    for term in ("b_v", "b_q", "b_k"):
        found += [Candidate(term, "", rate=rate) for rate in PROMPT_RATES[:rates]]
    return found + [Candidate("all_biases", "", rate=rate) for rate in ALL_PROMPT_RATES[:rates]]
