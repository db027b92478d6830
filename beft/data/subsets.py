"""The training subset of a regime: which rows it holds, and the index file that lists them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from beft.data.order import order
from beft.data.tables import check_source, parquet_bytes, read_table
from beft.errors import UserError
from beft.store.files import write_file
from beft.study.recipe import Recipe


def draw(labels: np.ndarray, size: int | str, stratify: bool, task: str, seed: int) -> np.ndarray:
    """Draws the rows of a training subset. A smaller subset is a prefix of a larger one.

    Args:
        labels: the labels of the training split, (rows,).
        size: the number of rows to draw, or "all".
        stratify: keep the proportions of the classes in every prefix, up to whole rows.
        task, seed: they decide the order of the rows; if stratified, labels do so too.

    Returns:
        Row numbers in the order drawn, (size,) int64.

    Raises:
        UserError: if the split has fewer rows than `size`.
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


def subset_rows(source: Path, recipe: Recipe) -> np.ndarray:
    """Draws the training subset of a recipe: row numbers in the order drawn, (n,) int64.

    It depends on task, regime and seed alone.
    """
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
    subset = recipe.subset
    return draw(labels, subset["size"], subset["stratify"], task["name"], recipe.seed)


def write_subset(source: Path, recipe: Recipe, target: Path) -> None:
    """Writes the index file of a recipe's training subset: one column, `row`, in order."""
    check_source(source, recipe.task["name"])
    write_file(target, parquet_bytes(pa.table({"row": subset_rows(source, recipe)})))


def read_subset(source: Path, recipe: Recipe, path: Path) -> np.ndarray:
    """Reads the row numbers in an index file, (n,) int64, and draws them again to check them.

    Raises:
        UserError: if the file is missing, damaged, or lists other rows than those drawn.
    """
    rows = subset_rows(source, recipe)
    if not path.is_file():
        raise UserError(f"{path}: missing; run 'snakemake data'")
    table = read_table(path)
    if table.column_names != ["row"] or not np.array_equal(table["row"].to_numpy(), rows):
        raise UserError(f"{path}: lists other rows than its recipe draws; delete it and try again")
    return rows


def hold_out(rows: np.ndarray, share: float, task: str) -> tuple[np.ndarray, np.ndarray]:
    """Splits the rows of a subset, (n,), into rows to train on and those that choose the epoch.

    The held-out rows are the last ones of the subset.

    Args:
        share: fraction to hold out, in [0, 1). Unless it is 0, at least one row is held out.

    Raises:
        UserError: if no row would be left to train on.
    """
    kept = len(rows) - max(1, round(share * len(rows))) if share else len(rows)
    if kept < 1:
        raise UserError(
            f"tasks.{task}: held_out {share} leaves none of {len(rows)} examples to train on; "
            "take a smaller share or a larger regime"
        )
    return rows[:kept], rows[kept:]
