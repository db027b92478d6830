"""`beft.tune` and `beft.load`, for notebooks and scripts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from beft.errors import UserError
from beft.operations.gpus import device_of
from beft.tuning.load import load
from beft.tuning.result import Result
from beft.tuning.tune import tune as _tune
from beft.tuning.wish import FOLDS, Talk, Wish

__all__ = ["load", "tune"]


def tune(
    data: Any,
    *,
    model: str | Path,
    to: str | Path | None = None,
    text: str | Sequence[str] = (),
    label: str | None = None,
    test: float | str | Path = 0.2,
    metric: str | None = None,
    minutes: float = 10.0,
    seeds: int = FOLDS,
    group: str | None = None,
    workers: int | None = None,
    device: str = "auto",
    prompt: str | None = None,
    talk: Talk | None = None,
) -> Result:
    """Tunes biases of a pretrained model on labelled examples, and tests the choice once.

    Args:
        data: path of a csv, tsv, jsonl, json, parquet or xlsx file; or a pandas DataFrame, a list
            of dicts, a dict of lists.
        model: a folder, or an id of the hub.
        to: the folder of the adapter, absent or empty. Default: a temporary one.
        text: the column of text, or the two of a pair. Default: guessed.
        label: the column of labels. Default: guessed.
        test: the share of rows to test on, or the path of another file.
        metric: accuracy, f1, f1_macro or matthews; of numbers spearman or pearson.
        minutes: the time that the plan is made for.
        seeds: folds of held-out rows, each with a seed of its own.
        group: a column whose equal values stay on one side of every cut.
        workers: processes. Default: one per core, or one on a GPU.
        prompt: of a decoder, a text with names of columns in braces ("Review: {review}"); the
            answer follows it. Default: made of the names of the columns.
        device: cpu, cuda, cuda:1, ... or auto.
        talk: what is told meanwhile. Default: nothing.

    Returns:
        The choice, its test and the adapter's folder; `beft.load(result.folder)` predicts.

    Raises:
        UserError: one line that names what is wrong, and what to do.
    """
    texts = (text,) if isinstance(text, str) else tuple(text)
    wish = Wish(
        *(str(model), texts, label, _checked(test), metric, minutes, seeds, group, workers),
        device=device_of(device),
        prompt=prompt,
    )
    return _tune(data, wish, None if to is None else Path(to), talk)


def _checked(test: object) -> float | str:
    if not isinstance(test, float | str | Path):
        raise UserError(
            f"test: give a share between 0 and 1, or the path of a file, not {type(test).__name__}"
        )
    return test if isinstance(test, float) else str(test)
