"""A small synthetic study: two models, three tasks, three regimes, with runs that went wrong."""

import hashlib
import math

import numpy as np
import pandas as pd
from support import measurements

from beft.report.frames import uncertainty
from beft.report.frames.columns import COLUMNS
from beft.report.frames.schema import Frames
from beft.study.studies import FIGURES

MODELS = ("bert-base-cased", "mini-rotary")
TASKS = {"sst2": "accuracy", "mnli": "accuracy", "stsb": "spearman"}
REGIMES = {"low": 1000, "medium": 5000, "high": 9000}
TECHNIQUES = ("b_q", "b_k", "b_v", "all_biases", "full", "untuned")
TERMS = (
    "q",
    "k",
    "v",
    "attention_output",
    "attention_norm",
    "intermediate",
    "output",
    "output_norm",
)
SELECTORS = ("projection", "magnitude", "fisher")
LAYERS, EPOCHS, SEEDS = 6, 8, (0, 1, 2)
GAIN = {"b_q": 0.14, "b_k": 0.05, "b_v": 0.26, "all_biases": 0.28, "full": 0.32, "untuned": 0.0}
SPLITS = {"mnli": ("validation_matched", "validation_mismatched")}
WRONG = {
    ("bert-base-cased", "sst2", "medium", "b_q", 1): ("diverged", "loss is not finite at step 12"),
    ("bert-base-cased", "sst2", "medium", "b_q", 2): ("diverged", "loss is not finite at step 31"),
    ("mini-rotary", "stsb", "high", "full", 0): ("failed", "killed: out of memory"),
}


def fate(model: str, task: str, regime: str, technique: str, seed: int) -> tuple[str, str]:
    """Status and reason of a run."""
    if model == "bert-base-cased" and technique == "b_k" and task == "stsb":
        return "skipped", "inert term: its gradient is zero up to rounding"
    if (model, task, regime, technique) == ("bert-base-cased", "mnli", "high", "b_v"):
        return "missing", "not run yet"
    return WRONG.get((model, task, regime, technique, seed), ("ok", ""))


def curve(task, regime, technique, seed, split, rng) -> np.ndarray:
    """Plausible metric per epoch."""
    base = 0.1 if TASKS[task] == "spearman" else 0.48
    reach = GAIN[technique] * (0.8 + 0.2 * list(REGIMES).index(regime))
    epochs = np.arange(EPOCHS + 1)
    values = base + reach * (1 - np.exp(-epochs / 2.2)) + rng.normal(0, 0.006, EPOCHS + 1)
    return values + (0.01 if split.endswith("mismatched") else 0)


def study(models=MODELS, tasks=tuple(TASKS), regimes=tuple(REGIMES), seed=0) -> Frames:
    """Frames of a whole synthetic study."""
    rng = np.random.default_rng(seed)
    rows = {key: [] for key in ("runs", "evaluations", "history", "problems", "provenance")}
    for model in models:
        for task in tasks:
            for regime in regimes:
                for technique in TECHNIQUES:
                    for number in SEEDS:
                        _run(rows, model, task, regime, technique, number, rng)
    settings = {
        "study": "synthetic", "description": "Made of random numbers.",
        "models": {model: {"hub": f"someone/{model}"} for model in models},
        "tasks": {t: {"metric": TASKS[t], "learning_rate": 4e-4, "regimes": REGIMES}
                  for t in tasks},
        "regimes": list(regimes), "techniques": list(TECHNIQUES), "seeds": list(SEEDS),
        "training": {"batch_size": 16, "max_length": 128, "epochs": EPOCHS},
        "tables": ["table1", "selection"],
        "figures": list(FIGURES),
    }  # fmt: skip
    frames = {key: pd.DataFrame(rows.get(key, []), columns=COLUMNS[key]) for key in COLUMNS}
    frames["scores"] = make_scores(models, tasks, regimes, rng)
    frames |= uncertainty.tables(frames["runs"], frames["evaluations"])  # of runs alone
    frames |= measurements.made(models, tasks, regimes)
    frames["trajectories"] = make_trajectories(frames["runs"])
    frames["gradients"] = make_gradients(models, tasks, regimes)
    return Frames(**frames, settings=settings)


def _run(rows, model, task, regime, technique, seed, rng) -> None:
    digest = f"{abs(hash_of(model, task, regime, technique, seed)):012x}"
    status, reason = fate(model, task, regime, technique, seed)
    splits = SPLITS.get(task, ("validation",))
    best = {}
    epochs = 0 if technique == "untuned" else EPOCHS
    for split in splits:
        values = curve(task, regime, technique, seed, split, rng)[: epochs + 1]
        best[split] = (values.max(), values[-1])
        if status == "ok":
            rows["evaluations"].append(
                [digest, split, TASKS[task], values.max(), values[-1], None, None, None]
            )
        stop = {"ok": epochs, "diverged": 3}.get(status, -1)
        for epoch, value in enumerate(values[: stop + 1]):
            rows["history"].append([digest, epoch, 0.7 - 0.05 * epoch, split, TASKS[task], value])
    ok = status == "ok"
    number = best[splits[0]] if ok else (math.nan, math.nan)
    percent = {"full": 100.0, "all_biases": 0.09}.get(technique, 0.01)
    rows["runs"].append(
        ["synthetic", model, task, regime, technique, seed, 4e-4, epochs, REGIMES[regime],
         TASKS[task], *number, int(percent * 1e4), percent, 12.5, 900.0, status, digest, None, None]
    )  # fmt: skip
    if not ok:
        rows["problems"].append([digest, status, reason])
    if status in ("ok", "diverged"):
        rows["provenance"].append(
            [digest, "0123abcd" * 5, False, "feed" * 16, "cpu", "2 cores, 16 GiB", 1,
             "float32", "float32", "3.11.9",
             "2.13.0", "5.23.0", "0.1.0", "2026-01-01T00:00:00+00:00", "beft train", 0, 2048, 0]
        )  # fmt: skip


def hash_of(*parts) -> int:
    """A hash that does not change between processes."""
    return int(hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()[:12], 16)


def make_scores(models, tasks, regimes, rng) -> pd.DataFrame:
    """Scores per layer and term, ranked per layer; b_k is inert in the model without rotary."""
    rows = []
    tilt = {"v": 3.0, "q": 2.0, "output_norm": 2.4, "intermediate": 2.7, "k": 0.2}
    for model in models:
        for task in tasks:
            for regime in regimes:
                for seed in SEEDS:
                    for selector in SELECTORS:
                        base = np.array([tilt.get(term, 1.5) for term in TERMS])
                        if selector == "magnitude":
                            base[0] += 1.4
                        if (selector, regime) == ("fisher", "low"):
                            base[2] += 0.5
                        table = base + rng.normal(0, 0.4, (LAYERS, len(TERMS)))
                        if selector == "projection" and model == "bert-base-cased":
                            table[2, 4] = math.nan
                        rows += _ranked(model, task, regime, seed, selector, table)
    return pd.DataFrame(rows, columns=COLUMNS["scores"])


def make_trajectories(runs: pd.DataFrame) -> pd.DataFrame:
    """Scores after each epoch of the runs of all biases; v overtakes q in the second or third."""
    rng, rows = np.random.default_rng(1), []
    tuned = runs[(runs["technique"] == "all_biases") & (runs["status"] == "ok")]
    for digest in tuned["digest"]:
        for selector in ("projection", "magnitude"):
            for epoch in range(1, EPOCHS + 1):
                rises = np.array([0.03, 0.01, 0.02 + 0.005 * epoch]) * epoch
                scores = rises + rng.normal(0, 0.01, 3)
                rows.append([digest, selector, epoch, *scores])
    return pd.DataFrame(rows, columns=COLUMNS["trajectories"])


def make_gradients(models, tasks, regimes) -> pd.DataFrame:
    """Gradients of four terms; that of k is nothing in the model without rotary positions."""
    rows = [
        [model, task, regime, seed, term, 3e-3 * size, size, size < 1e-4]
        for model in models for task in tasks for regime in regimes for seed in SEEDS
        for term, size in {
            "q": 0.2 + 0.02 * seed, "k": 2e-7 if model == "bert-base-cased" else 0.3, "v": 1.0,
            "output": 0.4,
        }.items()
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS["gradients"])


def _ranked(model, task, regime, seed, selector, table) -> list[list]:
    rows = []
    with_mean = np.vstack([table, np.nanmean(table, axis=0)])
    for layer, scores in zip([*map(str, range(LAYERS)), "mean"], with_mean, strict=True):
        ranks = pd.Series(scores).rank(ascending=False, method="min")
        for term, score, rank in zip(TERMS, scores, ranks, strict=True):
            inert = term == "k" and model == "bert-base-cased"
            rows.append([model, task, regime, seed, selector, term, layer, score, rank, inert])
    return rows
