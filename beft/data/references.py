"""The right answers of a split: those of the rows on which a run is evaluated."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from beft.data.order import order
from beft.study.recipe import Recipe, kind_of
from beft.tasks.prompts import words_of
from beft.tasks.words import Plain, Words


def labels_of(source: Path, task: Plain, split: str) -> np.ndarray:
    """The labels of a normalised split: classes (n,) int64, or values (n,) float32.

    Args:
        source: the folder of the dataset.
        task: the task of a recipe, which has labels.
    """
    table = pq.read_table(source / f"{split}.parquet", columns=[task["label"]])
    labels = table[task["label"]].to_pylist()
    return np.array(labels, np.int64 if task["labels"] else np.float32)


def references(source: Path, recipe: Recipe, split: str) -> np.ndarray | list[Words]:
    """The labels of a split for an encoder; for a decoder the examples that it is evaluated on."""
    task = recipe.task
    if kind_of(recipe.model) == "encoder":
        return labels_of(source, task, split)
    table = pq.read_table(source / f"{split}.parquet")
    words = words_of(table, task, f"{task['name']}/{split}")
    return [words[i] for i in evaluated_rows(words, recipe.training["evaluated"], task["name"])]


def evaluated_rows(words: Sequence[Words], size: int | str, task: str) -> list[int]:
    """The rows of a split to evaluate, in ascending order; they depend on task and size alone.

    Rows that are scored together, such as the answers to one question of MultiRC, stay together, so
    there may be a few more than `size`.
    """
    limit = len(words) if size == "all" else int(size)
    if limit >= len(words):
        return list(range(len(words)))
    groups: dict[str, list[int]] = {}
    for row, example in enumerate(words):
        groups.setdefault(example.group or f"row {row}", []).append(row)
    names = list(groups)
    chosen: list[int] = []
    for index in order(len(names), "evaluated", task):
        if len(chosen) >= limit:
            break
        chosen += groups[names[index]]
    return sorted(chosen)
