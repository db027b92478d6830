"""A small dataset in local files of each format."""

import json

import pyarrow as pa
import pyarrow.parquet as pq

from beft.data.normalise import normalise
from beft.data.readers.parquet_file import classes_of, rows_of
from beft.data.readers.read import columns_of
from beft.errors import UserError
from beft.study import params as P
from beft.tasks import Task

ASKED = {
    "context": ["It rained.", "It snowed."],
    "question": ["What did it do?", "Why?"],
    "answers": [{"text": ["rained"], "answer_start": [3]}, {"text": ["snowed"] * 2}],
}


def table(labels, text=None, kind=None) -> pa.Table:
    text = [f"text {i}" for i in range(len(labels))] if text is None else text
    return pa.table({"sentence": text, "label": pa.array(labels, kind)})


ROWS = [('a, quoted "word"', 1), ("two\nlines", 0), ("", 1), ("12", 0), ("naïve café 猫", 1)]


def write_local(folder, suffix):
    """The same five rows in one of the three formats."""
    folder.mkdir(parents=True)
    for split in ("train", "validation"):
        path = folder / f"{split}.{suffix}"
        if suffix == "parquet":
            pq.write_table(table([label for _, label in ROWS], [text for text, _ in ROWS]), path)
        elif suffix == "jsonl":
            lines = [json.dumps({"sentence": text, "label": label}) for text, label in ROWS]
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        else:
            quoted = [f'"{text.replace(chr(34), chr(34) * 2)}",{label}' for text, label in ROWS]
            path.write_text("\n".join(["sentence,label", *quoted]) + "\n", encoding="utf-8")


def local_task(path: str, **changes) -> P.Task:
    described = {"text": ["sentence"], "labels": ["negative", "positive"], "metric": "accuracy"}
    return P.Task(path=path, **described, **changes)


def normalised(table: pa.Table, task: Task, origin: str) -> pa.Table:
    """A table in memory as `fetch` keeps it, for models of every kind that the task has."""
    rows = rows_of(table, columns_of(task), classes_of(table.schema, task.label))
    split = normalise(rows, task, origin)
    for problem in split.unfit.values():
        raise UserError(f"{origin}: {problem}")
    return split.table
