"""Fetch a task's dataset from the hub, local files or the demo, and normalise it to parquet."""

import logging
from pathlib import Path

import pyarrow as pa

from beft.data.mirror.fetch import ensure_dataset
from beft.data.mirror.transfers import Transfer
from beft.data.normalise import normalise
from beft.data.tables import parquet_bytes, read_table, table_digest
from beft.store.files import all_flaws, flaw, remove, set_aside, to_json, write_folder
from beft.store.locks import alone
from beft.study import params as P
from beft.study.grid import task_source
from beft.study.identity import digest, sha256, split_file
from beft.study.layout import Layout
from beft.study.resolve import resolve_task

log = logging.getLogger(__name__)


def fetch_task(root: Path, name: str, given: P.Task, transfer: Transfer | None = None) -> Path:
    """Reads a task's dataset and writes it, normalised, to `data/sources/{task}/{digest}/`.

    Each split becomes one parquet file. It keeps all columns; texts and labels get one type each.
    `source.json` records the files that were read, their SHA-256 and their numbers of rows.

    Returns:
        The folder. If it exists and is undamaged, it is not written again.

    Raises:
        UserError: one line that names the file, the column or the row that is wrong.
    """
    source = task_source(name, given, root)
    folder = Layout(root).folder("sources") / name / digest(source)
    if flaw(folder) is None:
        return folder
    with alone(Layout(root).work(f"source-{folder.name}")):
        if flaw(folder) is not None:  # no other process has made it meanwhile
            _make_source(root, name, given, source, folder, transfer)
    return folder


def _make_source(
    root: Path, name: str, given: P.Task, source: dict, folder: Path, transfer: Transfer | None
) -> None:
    task = resolve_task(name, given)
    files, read = {}, {}
    raw = _read_splits(root, name, given, source["splits"], transfer)
    for split, (table, origin, checksum) in raw.items():
        files[f"{split}.parquet"] = parquet_bytes(normalise(table, task, origin))
        read[split] = {"file": Path(origin).name, "sha256": checksum, "rows": table.num_rows}
    files["source.json"] = to_json({"task": name, "source": source, "read": read})
    if all_flaws(folder) == ["source.json is missing"]:  # snakemake deletes its output to redo it
        remove(folder)
    elif folder.exists() and any(folder.iterdir()):  # snakemake makes an empty one beforehand
        aside = set_aside(folder, Layout(root).work(f"source-{folder.name}.damaged"))
        log.warning("%s is damaged: it was moved to %s and is made again", folder, aside)
    write_folder(folder, files)


def _read_splits(
    root: Path, name: str, given: P.Task, splits: list[str], transfer: Transfer | None
) -> dict[str, tuple[pa.Table, str, str]]:
    """Each split's table, the file or the name it comes from, and the SHA-256 of its content."""
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
