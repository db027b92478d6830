"""What people do with a labelled file of their own: a process for each method.

`python -m benchmarks.own_methods FOLDER METHOD SEED` answers a case that `own_cases.write` wrote,
and prints `{"value": metric, "note": ...}` as its last line. A process imports what its method
needs, since the time that this takes counts.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from beft.tasks.metrics.classes import score
from benchmarks import own_cases
from benchmarks.material import BATCH, Material

LORA_RATE, BEFT_RATE = 1e-3, 1e-3  # the paper trains biases of encoders at 1e-3
GRID = [(term, rate) for term in ("q", "k", "v") for rate in (1e-3, 4e-3, 1e-2, 2e-2)]
PAIR_STEPS = 300  # of SetFit: about as long as `tune` takes
PRECISION = "bfloat16"
PLAN = "plan.json"  # of the case's folder: what `own_plans` made
Found = dict[str, Any]


def tune(folder: Path, seed: int) -> Found:
    """The command, from its start to the written adapter, by the plan of the folder."""
    given = json.loads((folder / PLAN).read_text())
    path = folder / given["path"]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(given["content"]))
    source = own_cases.read(folder)
    text = [word for column in source.task["text"] for word in ("--text", column)]
    command = [str(Path(sys.executable).with_name("beft")), "tune", "train.csv"]
    command += ["--model", str(source.model), "--to", "adapter", "--test", "test.csv", "--yes"]
    command += [*text, "--label", "label", "--metric", source.task["metric"]]
    command += ["--minutes", str(given["minutes"])]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    if json.loads((folder / "adapter" / "plan.json").read_text()) != given["content"]["plan"]:
        raise RuntimeError(f"{folder}: beft tune made another plan than {PLAN}")
    test = json.loads((folder / "adapter" / "beft.json").read_text())["test"]
    choice = next(line for line in done.stdout.splitlines() if line.startswith("choice: "))
    return {
        **{"value": test["value"], "low": test["low"], "high": test["high"]},
        **{"planned": given["content"]["plan"]["seconds"]},
        "note": choice.split(": ")[1],
    }


def probe(folder: Path, seed: int) -> Found:
    """Logistic or ridge regression on frozen embeddings, the mean over tokens."""
    import torch
    from sklearn.linear_model import LogisticRegression, Ridge
    from transformers import AutoModel, AutoTokenizer

    from benchmarks import few

    source = own_cases.read(folder)
    model = AutoModel.from_pretrained(source.model, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(source.model)
    parts = [
        few.embeddings(model, tokenizer, _texts(table, source.task["text"]), "mean")
        for table in (source.train, source.validation)
    ]
    head = LogisticRegression(max_iter=1000) if source.outputs > 1 else Ridge()
    answers = head.fit(parts[0], source.train["label"].to_numpy()).predict(parts[1])
    value = score(source.task["metric"], answers, source.validation["label"].to_numpy())
    return {"value": value, "note": "default strength"}


def _texts(table: pa.Table, text: list[str]) -> list:
    """Texts, or pairs of them, as tokenizers take them."""
    columns = [table[name].to_pylist() for name in text]
    return columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))


def setfit(folder: Path, seed: int) -> Found:
    """SetFit on single texts, or on pairs joined by the separator."""
    from benchmarks import few

    source = own_cases.read(folder)
    joined = [
        pa.table({"sentence": _joined(table, source.task["text"]), "label": table["label"]})
        for table in (source.train, source.validation)
    ]
    single = replace(source, train=joined[0], validation=joined[1])
    answers = few.setfit_answers(single, seed, PAIR_STEPS)[1]
    value = score(source.task["metric"], answers, single.validation["label"].to_numpy())
    return {"value": value, "note": f"{PAIR_STEPS} steps of {BATCH} pairs"}


def _joined(table: pa.Table, text: list[str]) -> list[str]:
    columns = [table[name].to_pylist() for name in text]
    return [" [SEP] ".join(texts) for texts in zip(*columns, strict=True)]


def lora(folder: Path, seed: int) -> Found:
    """LoRA of queries and values by Trainer + PEFT, at one rate."""
    return _trained("lora", "v", LORA_RATE, own_cases.read(folder), seed)


def beft_v(folder: Path, seed: int) -> Found:
    """PEFT's own BEFT of the values by Trainer, at one rate."""
    return _trained("peft", "v", BEFT_RATE, own_cases.read(folder), seed)


def grid(folder: Path, seed: int) -> Found:
    """A user's sweep: terms by rates, one by one, chosen on a fifth of the training rows."""
    source = own_cases.read(folder)
    inner = _inner(source)
    found = {(t, rate): _trained("peft", t, rate, inner, seed)["value"] for t, rate in GRID}
    term, rate = max(found, key=lambda key: found[key])
    value = _trained("peft", term, rate, source, seed)["value"]
    return {"value": value, "note": f"{len(GRID)} runs, then {term} at {rate:g}"}


def one_of_grid(folder: Path, seed: int) -> Found:
    """A run of the sweep; its `seconds` are those of training."""
    start = time.perf_counter()
    found = _trained("peft", "v", BEFT_RATE, _inner(own_cases.read(folder)), seed)
    return found | {"seconds": time.perf_counter() - start}


def _inner(source: Material) -> Material:
    held = max(1, len(source.train) // 5)
    return replace(source, train=source.train.slice(held), validation=source.train.slice(0, held))


def _trained(kind: str, term: str, rate: float, source: Material, seed: int) -> Found:
    from benchmarks import peers

    epochs = 10 if len(source.train) < 150 else 5
    wish = {"learning_rate": rate, "eval_strategy": "no"}
    trainer = peers.trainer_of(kind, source, term, seed, PRECISION, epochs, **wish)
    value = peers.train(trainer, source.task["metric"])[1]
    return {"value": value, "note": f"{epochs} epochs, rate {rate:g}"}


METHODS: dict[str, Callable[[Path, int], Found]] = {
    "tune": tune,
    "tune_fifth": tune,  # by a plan for a fifth of the grid's time
    "probe": probe,
    "setfit": setfit,
    "lora": lora,
    "beft_v": beft_v,
    "grid": grid,
    "one_of_grid": one_of_grid,
}

if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    print(json.dumps(METHODS[sys.argv[2]](Path(sys.argv[1]), int(sys.argv[3]))))
