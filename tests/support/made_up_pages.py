"""Studies of made-up numbers for the page: one whose names are markup, and one of 10,000 runs."""

import hashlib
from dataclasses import replace

import numpy as np
import pandas as pd
from support.frames_of import frames_of
from support.made_up_study import study

from beft.report.frames.schema import Frames, frame

EVIL = {
    "bert-base-cased": "<script>alert(1)</script>",
    "sst2": "a/b|c_$x$ & </script><img src=x onerror=alert(2)>",
    "low": 'quo"ted\u2028line',
    "killed: out of memory": "<img src=x onerror=alert(3)>",
}


def hostile() -> Frames:
    """The synthetic study with names that are markup."""
    made = study()
    changed = {name: getattr(made, name).replace(EVIL) for name in ("runs", "scores", "problems")}
    settings = dict(made.settings)
    for key in ("models", "tasks"):
        settings[key] = {EVIL.get(name, name): value for name, value in settings[key].items()}
    settings["regimes"] = [EVIL.get(name, name) for name in settings["regimes"]]
    return replace(made, **changed, settings={**settings, "description": EVIL["bert-base-cased"]})


def huge(models: int = 5, tasks: int = 10, seeds: int = 5, epochs: int = 16) -> Frames:
    """10,000 runs: 5 models, 10 tasks, 4 regimes, 10 techniques, 5 seeds, with 16 epochs each."""
    rng = np.random.default_rng(0)
    regimes = ("low", "medium", "high", "all")
    techniques = ["b_v", "b_q", "b_k", "b_output", "b_intermediate", "all_biases", "full"]
    techniques += ["random_uniform", "head_only", "untuned"]
    where = [
        (f"model-{m}", f"task-{t}", regime, technique, seed)
        for m in range(models) for t in range(tasks) for regime in regimes
        for technique in techniques for seed in range(seeds)
    ]  # fmt: skip
    runs = pd.DataFrame(where, columns=["model", "task", "regime", "technique", "seed"])
    digests = [hashlib.sha256(repr(place).encode()).hexdigest()[:16] for place in where]
    values = np.round(0.5 + 0.4 * rng.random((len(runs), epochs)), 4)
    runs = runs.assign(
        study="huge", learning_rate=1e-3, epochs=epochs, train_examples=1000, metric="accuracy",
        best=values.max(1), last=values[:, -1], trainable_params=9216, trainable_percent=0.0101,
        train_seconds=np.round(60 * rng.random(len(runs)), 3), peak_memory_mb=900.5, status="ok",
        digest=digests,
    )  # fmt: skip
    bad = rng.random(len(runs)) < 0.01
    runs.loc[bad, ["best", "last"]] = np.nan
    runs.loc[bad, "status"] = "diverged"
    history = pd.DataFrame({
        "digest": np.repeat(digests, epochs), "epoch": np.tile(range(1, epochs + 1), len(runs)),
        "train_loss": rng.random(len(runs) * epochs), "split": "validation", "metric": "accuracy",
        "value": values.ravel(),
    })  # fmt: skip
    lost = pd.DataFrame({"digest": runs["digest"][bad], "status": "diverged"})
    good = runs[~bad]
    evaluations = good[["digest", "metric", "best", "last"]].assign(split="validation")
    origin = {"commit": "0" * 40, "dirty": False, "code": "feed", "device": "cpu", "threads": 1}
    origin |= {"hardware": "none", "python": "3", "torch": "2", "transformers": "5", "beft": "0"}
    packs = [f"beft train data/packs/{'/'.join(place[:4])}.json" for place in where]
    provenance = pd.DataFrame({"digest": digests, "command": packs, **origin})
    provenance["started"] = [f"2026-01-01T{i // 3600:02}:{i // 60 % 60:02}:{i % 60:02}+00:00"
                             for i in range(len(runs))]  # fmt: skip
    names = list(dict.fromkeys(runs["model"])), list(dict.fromkeys(runs["task"]))
    settings = {
        "study": "huge", "models": {m: {} for m in names[0]}, "tasks": {t: {} for t in names[1]},
        "regimes": list(regimes), "techniques": techniques, "seeds": list(range(seeds)),
        "tables": ["table1", "selection"], "figures": [],
    }  # fmt: skip
    tables = {"runs": runs, "history": history, "evaluations": evaluations}
    tables |= {"provenance": provenance, "problems": lost.assign(reason="loss is not finite")}
    tables = {
        name: table.reindex(columns=frame(name, []).columns) for name, table in tables.items()
    }
    return frames_of(settings, **tables)
