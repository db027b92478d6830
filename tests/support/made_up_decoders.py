"""Studies of decoders of made-up numbers, one of them like the paper's Table 5."""

import math

import pandas as pd
from support.made_up_study import hash_of

from beft.report.frames.columns import COLUMNS
from beft.report.frames.schema import Frames

TRAINED = {"b_": 49152, "lora": 1572864, "prefix": 491520}  # of 1,228,800,000 parameters


def decoders(
    numbers: dict, added=(), inert=(), metrics=None, demonstrations=None, **settings
) -> Frames:
    """A study of decoders from (model, task, technique[, regime]) -> one entry per seed.

    Args:
        numbers: an entry is the metric of a run that is ok, or the status of one that is not.
        added: models to which biases were added.
        inert: models whose b_k is inert; the others have no scores.
        metrics: task -> metric, accuracy where it is absent.
        demonstrations: task -> (mean, least) of each seed's run of icl.
    """
    rows = {key: [] for key in ("runs", "evaluations", "problems", "provenance")}
    for (model, task, technique, *regime), entries in numbers.items():
        where = [model, task, *(regime or ["low"]), technique]
        for seed, value in enumerate(entries):
            digest, ok = f"{hash_of(*where, seed):012x}", not isinstance(value, str)
            status, best = ("ok", value) if ok else (value, math.nan)
            metric = (metrics or {}).get(task, "accuracy")
            own = (demonstrations or {}).get(task) if technique == "icl" else None
            shown = own[seed] if own else (None, None)
            trained = sum(n for key, n in TRAINED.items() if technique.startswith(key))
            costs = [trained, trained / 12288000, 10 + trained / 5000] if ok else [math.nan] * 3
            rows["runs"].append(
                ["made up", *where, seed, 1e-3, 5, 1000, metric, best, best, *costs,
                 900.0, status, digest, None, None]
            )  # fmt: skip
            if ok:
                rows["evaluations"].append([digest, "validation", metric, best, best, None, *shown])
                facts = [
                    "0123abcd" * 5,
                    False,
                    "feed" * 16,
                    "cpu",
                    "2 cores",
                    1,
                    "bfloat16",
                    "bfloat16",
                    "3.11.9",
                    "2.13.0",
                ]
                facts += ["5.23.0", "0.1.0", "2026-01-01T00:00:00+00:00", "beft train"]
                rows["provenance"].append([digest, *facts, 256 * (model in added), 2048, 0])
            else:
                rows["problems"].append([digest, status, f"{status}: made up"])
    runs = pd.DataFrame(rows["runs"], columns=COLUMNS["runs"])
    names = {key: list(dict.fromkeys(runs[key])) for key in ("model", "task", "regime")}
    told = {
        "study": "made up", "models": {m: {"kind": "decoder"} for m in names["model"]},
        "tasks": {t: {} for t in names["task"]}, "regimes": names["regime"],
        "techniques": list(dict.fromkeys(runs["technique"])), **settings,
    }  # fmt: skip
    flags = [[m, t, r, 0, "fisher", term, "mean", 1.0, 1, term == "k"]
             for m, t, r in dict.fromkeys(zip(runs["model"], runs["task"], runs["regime"],
                                              strict=True))
             if m in inert for term in "qkv"]  # fmt: skip
    frames = {name: pd.DataFrame(rows.get(name, []), columns=COLUMNS[name]) for name in COLUMNS}
    scores = pd.DataFrame(flags, columns=COLUMNS["scores"])
    return Frames(**{**frames, "runs": runs, "scores": scores}, settings=told)


PAPER = {  # what the figures of a study like the paper's Table 5 look like; values as printed there
    "b_v": (93.1, 71.5, 80.3, 65.8, 63.5, 61.6, 69.0, 77.0, 71.5, 79.8, 28.2),
    "b_q": (72.7, 55.6, 71.4, 60.4, 62.5, 59.2, 56.3, 74.0, 71.2, 69.3, 21.4),
    "b_k": (53.5, 53.0, 39.3, 45.5, 44.2, 57.3, 45.3, 75.0, 70.5, 27.2, 11.1),
    "lora": (92.6, 50.5, 41.0, 63.1, 63.5, 50.0, 55.3, 76.0, 71.0, 79.7, 27.9),
    "prefix": (91.9, 63.9, 80.3, 64.3, 61.5, 57.6, 60.0, 69.0, 70.5, 78.3, 25.2),
    "icl": (80.3, 53.0, 48.2, 58.5, 47.1, 50.6, 46.3, 69.0, 70.9, 58.6, 20.3),
    "zero_shot": (53.5, 53.0, 39.3, 45.5, 44.2, 57.3, 45.3, 75.0, 70.5, 27.2, 11.1),
}
ASKED = ("sst2", "rte", "cb", "boolq", "wsc", "wic", "multirc", "copa", "record", "squad", "drop")


def table5() -> Frames:
    """Two decoders, one with biases added to it, eleven tasks and seven techniques; one run fails.

    What is rotary has another b_k than zero-shot.
    """
    numbers = {}
    for technique, values in PAPER.items():
        for task, value in zip(ASKED, values, strict=True):
            shift = 6 if technique == "b_k" else 0
            numbers["opt-1.3b", task, technique] = [value / 100, value / 100]
            numbers["mini-rotary", task, technique] = [(value + shift) / 100, value / 100]
    numbers["mini-rotary", "drop", "lora"] = ["failed", 0.25]
    return decoders(numbers, added=["mini-rotary"], inert=["opt-1.3b"])
