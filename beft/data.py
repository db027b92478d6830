"""Datasets: from mirror, local files or the demo's grammar to normalised parquet, then subsets."""

import hashlib
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

from beft import mirror
from beft import params as P
from beft.errors import UserError
from beft.hashing import sha256, split_file
from beft.recipe import digest, task_source
from beft.store import flaw, read_json, to_json, write_file, write_folder
from beft.tasks import Task, resolve

log = logging.getLogger(__name__)


def fetch_task(root: Path, name: str, given: P.Task) -> Path:
    """Normalises a task's dataset into `data/sources/{task}/{digest}/`.

    Every split becomes one parquet file with the columns as they came, strings and labels in one
    type; `source.json` says where it came from, row counts and SHA-256 of what was read.

    Returns:
        The folder. A sound one that is there already is left alone.

    Raises:
        UserError: one line that names the file, the column or the row.
    """
    source = task_source(name, given, root)
    folder = root / "data" / "sources" / name / digest(source)
    if flaw(folder) is None:
        return folder
    task = resolve(name, given)
    splits = source["splits"]
    tables, read = {}, {}
    for split, (table, origin, checksum) in _read_splits(root, name, given, splits).items():
        tables[split] = normalise(table, task, origin)
        read[split] = {"file": Path(origin).name, "sha256": checksum, "rows": table.num_rows}
    if folder.exists():
        log.warning("%s is damaged and is made again", folder)
        folder.rename(folder.with_name(f".{folder.name}.damaged"))
    files = {f"{split}.parquet": _parquet_bytes(table) for split, table in tables.items()}
    files["source.json"] = to_json({"task": name, "source": source, "read": read})
    write_folder(folder, files)
    return folder


def _read_splits(root: Path, name: str, given: P.Task, splits: list[str]) -> dict:
    if given.demo:
        from beft.tasks.demo import generate

        tables = {split: pa.table(generate(name, split)) for split in splits}
        return {s: (t, f"{name}/{s}", table_digest(t)) for s, t in tables.items()}
    if given.path is not None:
        folder = (root / given.path).resolve()
        files = {split: split_file(folder, split) for split in splits}
    else:
        files = mirror.ensure_dataset(root, name, given, splits)
    return {s: (read_table(path), str(path), sha256(path)) for s, path in files.items()}


def table_digest(table: pa.Table) -> str:
    """SHA-256 of a table's content, independent of parquet's encoding."""
    return hashlib.sha256(repr(table.to_pydict()).encode()).hexdigest()


def read_table(path: Path) -> pa.Table:
    """A parquet, jsonl or csv file as a table.

    Raises:
        UserError: when the file is damaged, or not UTF-8.
    """
    try:
        if path.suffix == ".parquet":
            return pq.read_table(path)
        if path.suffix == ".jsonl":
            return pyarrow.json.read_json(path)
        options = pyarrow.csv.ConvertOptions(strings_can_be_null=False, null_values=[])
        parse = pyarrow.csv.ParseOptions(newlines_in_values=True)
        return pyarrow.csv.read_csv(path, convert_options=options, parse_options=parse)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        kind = {".parquet": "parquet", ".jsonl": "JSON lines", ".csv": "UTF-8 csv"}[path.suffix]
        detail = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: not readable as {kind} ({detail})") from None


def normalise(table: pa.Table, task: Task, origin: str) -> pa.Table:
    """Checks columns and labels and gives them one type.

    Raises:
        UserError: naming the file and the missing column, or the row and its label.
    """
    if table.num_rows == 0:
        raise UserError(f"{origin}: the split is empty")
    for column in task.columns():
        if column not in table.column_names:
            hint = P.nearest(column, table.column_names)
            raise UserError(f"{origin}: no column '{column}'; {hint}")
    for column in task.columns()[:-1]:
        values = table[column]
        if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
            raise UserError(f"{origin}: column '{column}' holds {values.type}, not text")
        if values.null_count:
            row = pc.index(values.is_null(), True).as_py()
            raise UserError(f"{origin}: row {row}: '{column}' is empty (null)")
        table = table.set_column(
            table.column_names.index(column), column, values.cast(pa.string()).combine_chunks()
        )
    labels = _labels(table[task.label], task, origin)
    table = table.set_column(table.column_names.index(task.label), task.label, labels)
    return table.replace_schema_metadata(None)


def _labels(column: pa.ChunkedArray, task: Task, origin: str) -> pa.Array:
    column = column.combine_chunks()
    if column.null_count:
        row = pc.index(column.is_null(), True).as_py()
        raise UserError(f"{origin}: row {row}: '{task.label}' is empty (null)")
    textual = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    if task.labels and textual:
        values = column.to_pylist()
        for row, value in enumerate(values):
            if value not in task.labels:
                raise UserError(
                    f"{origin}: row {row}: label '{value}' is not one of {', '.join(task.labels)}"
                )
        return pa.array([task.labels.index(v) for v in values], pa.int64())
    if textual or not (
        pa.types.is_integer(column.type)
        or pa.types.is_floating(column.type)
        or pa.types.is_boolean(column.type)
    ):
        raise UserError(f"{origin}: column '{task.label}' holds {column.type}, not labels")
    values = np.asarray(column.cast(pa.float64() if not task.labels else column.type))
    if not task.labels:
        return _in_range(values.astype(np.float64), np.isfinite(values), "a number", origin)
    integral = values.astype(np.float64)
    valid = (integral == np.floor(integral)) & (integral >= 0) & (integral < len(task.labels))
    return _in_range(integral, valid, f"one of 0 to {len(task.labels) - 1}", origin, pa.int64())


def _in_range(values, valid, what: str, origin: str, dtype: pa.DataType | None = None) -> pa.Array:
    if not valid.all():
        row = int(np.argmin(valid))
        raise UserError(f"{origin}: row {row}: label {values[row]:g} is not {what}")
    return pa.array(values).cast(dtype or pa.float64())


def _parquet_bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue().to_pybytes()


def order(rows: int, *key: Any) -> np.ndarray:
    """A permutation of 0..rows-1 that depends on the key alone.

    Rows are sorted by a hash of (key, row), so the order is the same on every machine and with
    every version of every library.
    """
    prefix = hashlib.blake2b(repr(key).encode(), digest_size=16).digest()
    hashes = [
        hashlib.blake2b(row.to_bytes(8, "big"), key=prefix, digest_size=16).digest()
        for row in range(rows)
    ]
    return np.array(sorted(range(rows), key=hashes.__getitem__), dtype=np.int64)


def draw(labels: np.ndarray, size: int | str, stratify: bool, task: str, seed: int) -> np.ndarray:
    """The rows of a training subset, in order; a smaller size gives a prefix of a larger one.

    Args:
        labels: (rows,) of the training split.
        size: number of rows, or "all".
        stratify: keep the classes' shares in every prefix, as closely as whole rows allow.
        task, seed: the only other things the order depends on.

    Raises:
        UserError: when the size exceeds the data; both numbers are named.
    """
    rows = len(labels)
    count = rows if size == "all" else int(size)
    if count > rows:
        raise UserError(
            f"tasks.{task}.regimes: {count} training examples asked for, but the split has {rows}"
        )
    ranking = order(rows, "subset", task, seed)
    if stratify:
        position = np.empty(rows)
        for label in np.unique(labels):
            members = ranking[labels[ranking] == label]
            position[members] = (np.arange(len(members)) + 0.5) / len(members)
        ranking = ranking[np.argsort(position[ranking], kind="stable")]
    return ranking[:count]


def write_subset(source: Path, recipe: Any, target: Path) -> None:
    """Writes the index file of a recipe's (task, regime, seed): one column `row`, in order."""
    task = recipe.task
    if task["labels"] == [] and recipe.subset["stratify"]:
        raise UserError(f"tasks.{task['name']}.stratify: regression has no classes")
    labels = pq.read_table(source / f"{task['train']}.parquet", columns=[task["label"]])
    rows = draw(
        labels[task["label"]].to_numpy(),
        recipe.subset["size"],
        recipe.subset["stratify"],
        task["name"],
        recipe.seed,
    )
    write_file(target, _parquet_bytes(pa.table({"row": rows})))


def read_subset(path: Path) -> np.ndarray:
    """The rows of a subset, (n,) int64."""
    return read_table(path)["row"].to_numpy().copy()


def source_checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a source, as recorded when it was written."""
    return read_json(folder / "checksums.json")
