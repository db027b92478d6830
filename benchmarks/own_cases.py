"""The cases of the benchmark `own`: rows to train on, and rows to test on that nobody chose by."""

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from beft.data.order import order
from beft.store.files import to_json, write_file
from benchmarks.material import MIRROR, MODEL, Material

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
_SPLITS = ("train", "validation")


def draw(name: str, number: int) -> Material:
    """A draw of training rows of a case; the test rows are the whole validation split."""
    dataset, text, rows, metric = CASES[name]
    train, test = (pq.read_table(MIRROR / "datasets" / dataset / f"{s}.parquet") for s in _SPLITS)
    task = {"text": text, "label": "label", "metric": metric, "validation": ["validation"]}
    outputs = 1 if metric == "spearman" else len(set(train["label"].to_pylist()))
    task |= {"name": name, "labels": [str(i) for i in range(outputs)] if outputs > 1 else []}
    chosen = order(len(train), name, number)[:rows]
    return Material(name, MIRROR / "models" / MODEL, train.take(chosen), test, task, outputs)


def write(source: Material, folder: Path) -> None:
    """Writes a case for processes of its own: its rows as parquet and as csv, and what it is."""
    for table, name in ((source.train, "train"), (source.validation, "test")):
        pq.write_table(table, folder / f"{name}.parquet")
        _write_csv(table, source.task["text"], folder / f"{name}.csv")
    facts = {"name": source.name, "model": str(source.model), "task": source.task}
    write_file(folder / "case.json", to_json({**facts, "outputs": source.outputs}))


def read(folder: Path) -> Material:
    """What `write` wrote."""
    facts = json.loads((folder / "case.json").read_text())
    train, test = (pq.read_table(folder / f"{name}.parquet") for name in ("train", "test"))
    model = Path(facts["model"])
    return Material(facts["name"], model, train, test, facts["task"], facts["outputs"])


def _write_csv(table: pa.Table, text: list[str], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*text, "label"])
        for row in table.select([*text, "label"]).to_pylist():
            writer.writerow([*(row[column] for column in text), row["label"]])
