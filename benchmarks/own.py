"""One's own labelled file: `beft tune`, and what else users would do with as many rows.

All get the same training rows and are scored once on the same test rows, which nothing was chosen
on. Writes results/own.json. `python -m benchmarks own` takes two hours, so `make bench`
leaves it out.
"""

import csv
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from transformers import AutoModel, AutoTokenizer

from beft.data.order import order
from beft.tasks.metrics.classes import score
from benchmarks import few, peers
from benchmarks import measure as M
from benchmarks.material import BATCH, MIRROR, MODEL, Material
from benchmarks.random_material import tiny

COLUMNS = ["case", "method", "metric", "value", "lowest", "highest", "seconds", "draws", "note"]
# Name -> dataset, columns of text, training rows, metric.
CASES = {
    "sst2_100": ("nyu-mll/glue/sst2", ["sentence"], 100, "accuracy"),
    "sst2_600": ("nyu-mll/glue/sst2", ["sentence"], 600, "accuracy"),
    "mrpc_367": ("nyu-mll/glue/mrpc", ["sentence1", "sentence2"], 367, "accuracy"),
    "cb_250": ("aps/super_glue/cb", ["premise", "hypothesis"], 250, "accuracy"),
    "stsb_287": ("nyu-mll/glue/stsb", ["sentence1", "sentence2"], 287, "spearman"),
    "cola_1710": ("nyu-mll/glue/cola", ["sentence"], 1710, "matthews"),
}
DRAWS = {"sst2_100": 5, "sst2_600": 5}  # of training rows; one of the others
MINUTES = 5.0
LORA_RATE, BEFT_RATE = 1e-3, 1e-3  # the paper trains biases of encoders at 1e-3
GRID = [(term, rate) for term in ("q", "k", "v") for rate in (1e-3, 4e-3, 1e-2, 2e-2)]
PRECISION = "bfloat16"
Found = tuple[float, float, str]  # seconds, metric, what a reader must know


def run(smoke: bool = False) -> list[dict]:
    """A row for each case and method, written after each."""
    if smoke:
        with tiny() as source:
            return _measured({"tiny": [source]}, ["tune", "probe"], 0.1)
    found = {name: [draw(name, i) for i in range(DRAWS.get(name, 1))] for name in CASES}
    return _measured(found, list(METHODS), MINUTES)


def draw(name: str, number: int) -> Material:
    """A draw of training rows of a case; the test rows are the whole validation split."""
    dataset, text, rows, metric = CASES[name]
    train, test = (pq.read_table(MIRROR / "datasets" / dataset / f"{s}.parquet") for s in _SPLITS)
    task = {"text": text, "label": "label", "metric": metric, "validation": ["validation"]}
    outputs = 1 if metric == "spearman" else len(set(train["label"].to_pylist()))
    task |= {"name": name, "labels": [str(i) for i in range(outputs)] if outputs > 1 else []}
    chosen = order(len(train), name, number)[:rows]
    return Material(name, MIRROR / "models" / MODEL, train.take(chosen), test, task, outputs)


_SPLITS = ("train", "validation")


def _measured(cases: dict[str, list[Material]], methods: list[str], minutes: float) -> list[dict]:
    rows: list[dict] = []
    for name, draws in cases.items():
        for method in methods:
            if method == "setfit" and (draws[0].outputs == 1 or not find_spec("setfit")):
                continue
            found = [METHODS[method](each, seed, minutes) for seed, each in enumerate(draws)]
            rows.append(_row(name, method, draws[0], found))
            M.report(rows[-1])
            M.save("own", rows, minutes=minutes, grid=len(GRID))
    return rows


def _row(name: str, method: str, source: Material, found: list[Found]) -> dict:
    seconds, values, notes = zip(*found, strict=True)
    return {
        "case": name,
        "method": method,
        "metric": source.task["metric"],
        "value": round(float(np.mean(values)), 4),
        "lowest": round(min(values), 4),
        "highest": round(max(values), 4),
        "seconds": round(float(np.median(seconds)), 1),
        "draws": len(found),
        "test_rows": len(source.validation),
        "note": notes[0],
        "raw": [[round(s, 1), round(v, 4)] for s, v, _ in found],
    }


def tune(source: Material, seed: int, minutes: float) -> Found:
    """The command, from its start to the written adapter."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for table, file in ((source.train, "train.csv"), (source.validation, "test.csv")):
            _write(folder / file, table, source.task["text"])
        text = [word for column in source.task["text"] for word in ("--text", column)]
        command = [str(Path(sys.executable).with_name("beft")), "tune", "train.csv"]
        command += ["--model", str(source.model), "--to", "adapter", "--test", "test.csv", "--yes"]
        command += [*text, "--label", "label", "--metric", source.task["metric"]]
        start = time.perf_counter()
        done = subprocess.run(
            [*command, "--minutes", str(minutes)],
            **{"cwd": folder, "capture_output": True, "text": True},
        )
        seconds = time.perf_counter() - start
        if done.returncode:
            raise RuntimeError(done.stderr)
        facts = json.loads((folder / "adapter" / "beft.json").read_text())
    choice = next(line for line in done.stdout.splitlines() if line.startswith("choice"))
    return seconds, facts["test"]["value"], choice


def _write(path: Path, table: pa.Table, text: list[str]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*text, "label"])
        for row in table.select([*text, "label"]).to_pylist():
            writer.writerow([*(row[column] for column in text), row["label"]])


def probe(source: Material, seed: int, minutes: float) -> Found:
    """Logistic or ridge regression on frozen embeddings, the mean over tokens."""
    start = time.perf_counter()
    model = AutoModel.from_pretrained(source.model, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(source.model)
    parts = [
        few.embeddings(model, tokenizer, _texts(table, source.task["text"]), "mean")
        for table in (source.train, source.validation)
    ]
    head = LogisticRegression(max_iter=1000) if source.outputs > 1 else Ridge()
    answers = head.fit(parts[0], source.train["label"].to_numpy()).predict(parts[1])
    value = score(source.task["metric"], answers, source.validation["label"].to_numpy())
    return time.perf_counter() - start, value, "default strength"


def _texts(table: pa.Table, text: list[str]) -> list:
    """Texts, or pairs of them, as tokenizers take them."""
    columns = [table[name].to_pylist() for name in text]
    return columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))


def setfit(source: Material, seed: int, minutes: float) -> Found:
    """SetFit on single texts, or on pairs joined by the separator."""
    joined = [
        pa.table({"sentence": _joined(table, source.task["text"]), "label": table["label"]})
        for table in (source.train, source.validation)
    ]
    single = replace(source, train=joined[0], validation=joined[1])
    steps = few.PAIR_STEPS
    return (*few.setfit(single, seed, steps), f"{steps} steps of {BATCH} pairs")


def _joined(table: pa.Table, text: list[str]) -> list[str]:
    columns = [table[name].to_pylist() for name in text]
    return [" [SEP] ".join(texts) for texts in zip(*columns, strict=True)]


def lora(source: Material, seed: int, minutes: float) -> Found:
    """LoRA of queries and values by Trainer + PEFT, at one rate."""
    return _trained("lora", "v", LORA_RATE, source, seed)


def beft_v(source: Material, seed: int, minutes: float) -> Found:
    """PEFT's own BEFT of the values by Trainer, at one rate."""
    return _trained("peft", "v", BEFT_RATE, source, seed)


def grid(source: Material, seed: int, minutes: float) -> Found:
    """A user's sweep: terms by rates, one by one, chosen on a fifth of the training rows."""
    start, held = time.perf_counter(), max(1, len(source.train) // 5)
    inner = replace(source, train=source.train.slice(held), validation=source.train.slice(0, held))
    found = {(term, rate): _trained("peft", term, rate, inner, seed)[1] for term, rate in GRID}
    term, rate = max(found, key=lambda key: found[key])
    _, value, _ = _trained("peft", term, rate, source, seed)
    return time.perf_counter() - start, value, f"{len(GRID)} runs, then {term} at {rate:g}"


def _trained(kind: str, term: str, rate: float, source: Material, seed: int) -> Found:
    epochs = 10 if len(source.train) < 150 else 5
    wish = {"learning_rate": rate, "eval_strategy": "no"}
    trainer = peers.trainer_of(kind, source, term, seed, PRECISION, epochs, **wish)
    seconds, value = peers.train(trainer, source.task["metric"])
    return seconds, value, f"{epochs} epochs, rate {rate:g}"


METHODS: dict[str, Callable[[Material, int, float], Found]] = {
    "tune": tune,
    "probe": probe,
    "setfit": setfit,
    "lora": lora,
    "beft_v": beft_v,
    "grid": grid,
}
