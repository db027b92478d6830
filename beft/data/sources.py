"""Datasets: from mirror, local files or the demo's grammar to normalised parquet, then subsets."""

import hashlib
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

from beft.data.mirror.fetch import ensure_dataset
from beft.data.mirror.transfers import Transfer
from beft.data.normalise import normalise
from beft.errors import UserError
from beft.store.files import (
    all_flaws,
    flaw,
    read_json,
    remove,
    set_aside,
    to_json,
    write_file,
    write_folder,
)
from beft.store.locks import alone
from beft.study import params as P
from beft.study.grid import task_source
from beft.study.identity import digest, sha256, split_file
from beft.study.layout import Layout
from beft.study.resolve import resolve_task

log = logging.getLogger(__name__)


def fetch_task(root: Path, name: str, given: P.Task, transfer: Transfer | None = None) -> Path:
    """Normalises a task's dataset into `data/sources/{task}/{digest}/`.

    Every split becomes one parquet file with the columns as they came, strings and labels in one
    type; `source.json` says where it came from, row counts and SHA-256 of what was read.

    Returns:
        The folder. A sound one that is there already is left alone.

    Raises:
        UserError: one line that names the file, the column or the row.
    """
    source = task_source(name, given, root)
    folder = Layout(root).folder("sources") / name / digest(source)
    if flaw(folder) is None:
        return folder
    with alone(Layout(root).work(f"source-{folder.name}")):
        if flaw(folder) is not None:  # by whoever was at it meanwhile
            _make_source(root, name, given, source, folder, transfer)
    return folder


def _make_source(
    root: Path, name: str, given: P.Task, source: dict, folder: Path, transfer: Transfer | None
) -> None:
    task = resolve_task(name, given)
    splits = source["splits"]
    tables, read = {}, {}
    for split, (table, origin, checksum) in _read_splits(
        root, name, given, splits, transfer
    ).items():
        tables[split] = normalise(table, task, origin)
        read[split] = {"file": Path(origin).name, "sha256": checksum, "rows": table.num_rows}
    if all_flaws(folder) == ["source.json is missing"]:  # snakemake removes it, its output
        remove(folder)
    elif folder.exists() and any(folder.iterdir()):  # empty: snakemake makes it for its output
        aside = set_aside(folder, Layout(root).work(f"source-{folder.name}"))
        log.warning("%s is damaged and is made again; moved to %s", folder, aside)
    files = {f"{split}.parquet": _parquet_bytes(table) for split, table in tables.items()}
    files["source.json"] = to_json({"task": name, "source": source, "read": read})
    write_folder(folder, files)


def _read_splits(
    root: Path, name: str, given: P.Task, splits: list[str], transfer: Transfer | None
) -> dict:
    if given.demo:
        from beft.tasks.demo.generate import generate

        tables = {split: pa.table(generate(name, split)) for split in splits}
        return {s: (t, f"{name}/{s}", table_digest(t)) for s, t in tables.items()}
    if given.path is not None:
        folder = (root / given.path).resolve()
        files = {split: split_file(folder, split) for split in splits}
    else:
        files = ensure_dataset(root, name, given, splits, transfer)
    text = [column for column, kind in resolve_task(name, given).reads().items() if kind == "text"]
    return {s: (read_table(path, text), str(path), sha256(path)) for s, path in files.items()}


def table_digest(table: pa.Table) -> str:
    """SHA-256 of a table's content, independent of parquet's encoding."""
    return hashlib.sha256(repr(table.to_pydict()).encode()).hexdigest()


def read_table(path: Path, text: Iterable[str] = ()) -> pa.Table:
    """A parquet, jsonl or csv file as a table.

    Args:
        path: the file; its suffix says what it is.
        text: columns that hold text, which csv itself cannot say of a column of numbers.

    Raises:
        UserError: when the file is damaged, or not UTF-8.
    """
    try:
        if path.suffix == ".parquet":
            table = pq.read_table(path)
        elif path.suffix == ".jsonl":
            table = pyarrow.json.read_json(path)
        else:
            convert = pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(text, pa.string()),
                strings_can_be_null=False,
                null_values=[""],
            )
            parse = pyarrow.csv.ParseOptions(newlines_in_values=True)
            table = pyarrow.csv.read_csv(path, convert_options=convert, parse_options=parse)
        table.validate(full=True)  # text that is not UTF-8 is found here, not while training
        _ = table.column_names
        return table
    except (pa.ArrowException, OSError, ValueError) as error:
        kind = {".parquet": "parquet", ".jsonl": "JSON lines", ".csv": "UTF-8 csv"}[path.suffix]
        detail = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: not readable as {kind} ({detail})") from None


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


def subset_rows(source: Path, recipe: Any) -> np.ndarray:
    """The rows of a recipe's (task, regime, seed), in order, (n,) int64."""
    task = recipe.task
    if not task.get("labels") and recipe.subset["stratify"]:
        raise UserError(
            f"tasks.{task['name']}.stratify: regression and answers in words have no classes"
        )
    file = source / f"{task['train']}.parquet"
    if "label" in task:
        labels = pq.read_table(file, columns=[task["label"]])[task["label"]].to_numpy()
    else:
        labels = np.zeros(pq.read_metadata(file).num_rows)
    return draw(
        labels,
        recipe.subset["size"],
        recipe.subset["stratify"],
        task["name"],
        recipe.seed,
    )


def write_subset(source: Path, recipe: Any, target: Path) -> None:
    """Writes the index file of a recipe's (task, regime, seed): one column `row`, in order."""
    check_source(source, recipe.task["name"])
    write_file(target, _parquet_bytes(pa.table({"row": subset_rows(source, recipe)})))


def read_subset(source: Path, recipe: Any, path: Path) -> np.ndarray:
    """The rows of a subset, (n,) int64, drawn again to be sure of them.

    Raises:
        UserError: when the file is missing, damaged, or holds other rows than its name says.
    """
    rows = subset_rows(source, recipe)
    if not path.is_file():
        raise UserError(f"{path}: missing; run 'snakemake data'")
    table = read_table(path)
    if table.column_names != ["row"] or not np.array_equal(table["row"].to_numpy(), rows):
        raise UserError(f"{path}: not the rows that its name says; delete it and start again")
    return rows


def hold_out(rows: np.ndarray, share: float, task: str) -> tuple[np.ndarray, np.ndarray]:
    """A subset's rows to train on, and those that choose the epoch: the last ones in its order.

    Args:
        rows: of the training subset, (n,).
        share: of them that is held out; at least one row is, where it is not 0.

    Raises:
        UserError: when nothing would be left to train on.
    """
    kept = len(rows) - max(1, round(share * len(rows))) if share else len(rows)
    if kept < 1:
        raise UserError(
            f"tasks.{task}: held_out {share} leaves none of {len(rows)} examples to train on; "
            "take a smaller share or a larger regime"
        )
    return rows[:kept], rows[kept:]


def check_source(folder: Path, task: str) -> None:
    """Makes sure that a fetched dataset is there and sound.

    Raises:
        UserError: when it is not.
    """
    if problem := flaw(folder):
        raise UserError(f"{folder}: {problem}; run 'beft fetch --task {task}' again")


def split_checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of a source's normalised splits, whatever files they were read from."""
    sums = read_json(folder / "checksums.json")
    return {name: value for name, value in sums.items() if name.endswith(".parquet")}
