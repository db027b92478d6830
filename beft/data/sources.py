"""Fetch a task's dataset from the hub, local files or the demo, and normalise it to parquet."""

import hashlib
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa

from beft.data.mirror.fetch import ensure_dataset
from beft.data.mirror.transfers import Transfer
from beft.data.normalise import normalise
from beft.data.readers.parquet_file import classes_of, rows_of
from beft.data.readers.read import columns_of, read_rows
from beft.data.readers.rows import Rows
from beft.data.tables import parquet_bytes, read_table, table_digest
from beft.errors import UserError, one_line
from beft.store import data_checks
from beft.store.files import all_flaws, read_json, remove, set_aside, to_json, write_folder
from beft.store.inputs import source_flaw
from beft.store.locks import alone
from beft.study import params as P
from beft.study.grid import task_source
from beft.study.identity import digest, sha256, split_file
from beft.study.layout import Layout
from beft.study.resolve import resolve_task
from beft.tasks import Task
from beft.tasks.words import Plain

log = logging.getLogger(__name__)

KINDS = ("encoder", "decoder")


def fetch_task(
    root: Path,
    name: str,
    given: P.Task,
    transfer: Transfer | None = None,
    kinds: Iterable[str] = KINDS,
) -> Path:
    """Reads a task's dataset and writes it, normalised, to `data/sources/{task}/{digest}/`.

    Each split becomes one parquet file, where texts and labels have one type each. Of local files
    it holds the columns that the task reads, of other datasets all columns. `source.json` records
    the files that were read, their SHA-256, their numbers of rows and of lines, how labels were
    matched, and what is odd about the rows (`data_checks.find`).

    Args:
        root: the folder of the project.
        name: the name of the task.
        given: its definition in params.yaml.
        transfer: how far the fetch is.
        kinds: the kinds of models that will read the dataset, `encoder` or `decoder`.

    Returns:
        The folder. If it exists and is undamaged, it is not written again.

    Raises:
        UserError: one line that names the file, the column or the row that is wrong.
    """
    source = task_source(name, given, root)
    task = resolve_task(name, given)
    folder = Layout(root).folder("sources") / name / digest(source)
    if source_flaw(folder) is not None:
        with alone(Layout(root).work(f"source-{folder.name}")):
            if source_flaw(folder) is not None:  # no other process has made it meanwhile
                _make_source(root, name, given, source, folder, transfer, kinds)
    read = read_json(folder / "source.json")["read"]
    _check_kinds(name, read, task, kinds)
    if given.path is not None:
        _check_classes(name, read, task, data_checks.checks_of(folder))
        if odd := data_checks.told(folder):
            log.info("tasks.%s: %s", name, odd)
    for split in read.values():
        if given.path is not None or "labels" in split:  # the user's own choice, or a guess
            log.info("tasks.%s: %s", name, _said(split, task))
    return folder


def _make_source(
    root: Path,
    name: str,
    given: P.Task,
    source: Plain,
    folder: Path,
    transfer: Transfer | None,
    kinds: Iterable[str],
) -> None:
    task = resolve_task(name, given)
    files, read, inputs = {}, {}, {}
    for split, (rows, origin, checksum) in _read_splits(root, name, given, source, transfer):
        made, file = normalise(rows, task, origin), Path(origin).name
        files[f"{split}.parquet"] = parquet_bytes(made.table)
        inputs[split] = data_checks.read(made.table, source)
        read[split] = {
            "file": file,
            "sha256": checksum,
            "rows": rows.count,
            **({"lines": rows.lines} if rows.lines is not None else {}),
            **({"labels": "positions"} if made.by_position else {}),
            **({"unfit": {k: f"{file}: {v}" for k, v in made.unfit.items()}} if made.unfit else {}),
        }
    _check_kinds(name, read, task, kinds)
    checks = data_checks.find(inputs, source)
    if given.path is not None:
        _check_classes(name, read, task, checks)
    said = {"task": name, "source": source, "read": read, "checks": checks}
    files["source.json"] = to_json(said)
    if all_flaws(folder) == ["source.json is missing"]:  # snakemake deletes its output to redo it
        remove(folder)
    elif folder.exists() and any(folder.iterdir()):  # snakemake makes an empty one beforehand
        problem = source_flaw(folder)
        aside = set_aside(folder, Layout(root).work(f"source-{folder.name}.damaged"))
        log.warning("%s: %s; it was moved to %s and is made again", folder, problem, aside)
    write_folder(folder, files)


def _read_splits(
    root: Path, name: str, given: P.Task, source: Plain, transfer: Transfer | None
) -> Iterator[tuple[str, tuple[Rows, str, str]]]:
    """Each split's rows, the file or the name they come from, and the SHA-256 of its content."""
    task = resolve_task(name, given)
    splits, columns = source["splits"], columns_of(task)
    if given.demo:
        from beft.tasks.demo.generate import generate

        for split in splits:
            table = pa.table(generate(name, split))
            rows = rows_of(table, columns, classes=task.labels)
            yield split, (rows, f"{name}/{split}", table_digest(table))
    elif given.path is not None:
        folder = (root / given.path).resolve()
        for split in splits:
            path = split_file(folder, split)
            data = path.read_bytes()
            checksum = hashlib.sha256(data).hexdigest()
            if checksum != source["content"][split]:
                raise UserError(f"{path}: it has changed since this command started; fetch again")
            yield split, (read_rows(data, path.suffix, task, str(path)), str(path), checksum)
    else:
        for split, path in ensure_dataset(root, name, given, splits, transfer).items():
            checksum, table = sha256(path), read_table(path)
            if sha256(path) != checksum:
                raise UserError(f"{path}: it has changed while it was read; fetch again")
            rows = rows_of(table, columns, classes_of(table.schema, task.label))
            yield split, (rows, str(path), checksum)


def _check_kinds(name: str, read: Plain, task: Task, kinds: Iterable[str]) -> None:
    """Raises UserError where models of these kinds cannot read a split."""
    for kind in set(kinds) & set(task.kinds()):
        for split in read.values():
            if problem := split.get("unfit", {}).get(kind):
                raise UserError(f"tasks.{name}: {problem}")


def _check_classes(name: str, read: Plain, task: Task, checks: Plain) -> None:
    """Raises UserError where all rows to train on have one label."""
    if only := checks[task.train].get("only"):
        raise UserError(
            f"tasks.{name}: {read[task.train]['file']}: every row has the label "
            f"'{one_line(only, 60)}', so there is nothing to learn; add rows of another label"
        )


def _said(split: Plain, task: Task) -> str:
    """What was read of a split, for the log."""
    lines = f" in {split['lines']} lines" if "lines" in split else ""
    said = f"{split['file']}: {split['rows']} rows{lines}"
    if "labels" in split:
        named = ", ".join(f"{number} is {label}" for number, label in enumerate(task.labels))
        said += f"; it holds numbers for labels, taken as positions: {named}"
    return said
