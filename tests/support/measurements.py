"""Frames of run times and of merged biases, of made-up numbers."""

import pandas as pd

from beft.report.frames.schema import frame

TECHNIQUES = ("b_v", "full")
WAYS = (("none", "fresh"), ("first", "own"), ("first", "first"), ("second", "own"))
WAYS += (("second", "second"), ("mean", "own"))


def made(models, tasks, regimes) -> dict[str, pd.DataFrame]:
    """Of each model the first task timed, and its first two tasks merged, in the first regime."""
    times, merges = [], []
    for model in models:
        times += [
            timed(model, tasks[0], regimes[0], technique, repeat, 10.0 + 5 * (technique == "full"))
            for repeat in (1, 2)
            for technique in TECHNIQUES
        ]
        pair = list(tasks[:2])
        if len(pair) == 2:
            merges += [
                merged(model, regimes[0], pair, seed, *way, task, 0.5)
                for seed in (0, 1)
                for task in pair
                for way in WAYS
            ]
    return {"timings": frame("timings", times), "merges": frame("merges", merges)}


def timed(model, task, regime, technique, repeat, seconds, status="ok", **more) -> dict:
    """A row of the frame `timings`."""
    return {
        "model": model, "task": task, "regime": regime, "technique": technique, "seed": 0,
        "repeat": repeat, "seconds": seconds, "train_seconds": (seconds or 0) / 2, "status": status,
        "device": "cpu", "hardware": "a machine", "threads": 1, "digest": technique, **more,
    }  # fmt: skip


def merged(model, regime, pair, seed, bias, head, task, value, **more) -> dict:
    """A row of the frame `merges`."""
    return {
        "model": model, "regime": regime, "technique": "b_v", "first": pair[0], "second": pair[1],
        "seed": seed, "bias": bias, "head": head, "task": task, "split": "validation",
        "metric": "accuracy", "value": value, "status": "ok", "reason": "",
        "tuned_cosine": 0.5, "tuned_degrees": 60.0, "shift_cosine": 0.0, "shift_degrees": 90.0,
        **more,
    }  # fmt: skip
