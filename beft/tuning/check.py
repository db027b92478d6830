"""Check, before an adapter is written, that it answers as the run that was tuned did."""

import runpy
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow.parquet as pq
from transformers.utils import logging

from beft.data.encoded import segments
from beft.errors import UserError
from beft.models.loading import quiet_transformers
from beft.store.files import write_folder
from beft.store.run_folder import Run
from beft.store.run_format import Epoch
from beft.study.project import Project
from beft.study.recipe import Recipe
from beft.tasks.words import fields
from beft.training.shared import is_decoder
from beft.tuning.adapter_format import read_adapted
from beft.tuning.example_program import EXAMPLE
from beft.tuning.load import hosted

MOST = 1000  # rows that are compared
MOST_PROMPTS = 100  # the same of a decoder
BATCH = 16
# How far an output may be from the one that the run decided by, as a share of the largest output:
# the run's own precision, and sums in another order.
ROUNDING = {"float32": 1e-3, "bfloat16": 0.1}

Examples = list[tuple[str, ...]]
Answer = Callable[[Examples], np.ndarray]  # texts -> outputs, (n, outputs)


def check_answers(
    project: Project, run: Run, epoch: Epoch, files: Mapping[str, bytes], base: Path
) -> None:
    """Compares what an adapter answers to the run's validation rows with what the run recorded.

    It is loaded twice: as `beft predict` does, and by its own example.py, in float32.

    Args:
        epoch: whose predictions are compared.
        files: all files of the adapter that are loaded.
        base: the folder of the model that was tuned.

    Raises:
        UserError: the answers differ by more than rounding.
    """
    recipe = run.recipe
    recorded, examples = [], []
    for split in recipe.task["validation"]:
        table = pq.read_table(project.layout.source(recipe) / f"{split}.parquet")
        most = MOST_PROMPTS if is_decoder(recipe) else MOST
        rows = np.linspace(0, len(table) - 1, min(len(table), most)).astype(np.int64)
        columns = segments(table.take(rows), _columns(recipe))
        examples += list(zip(*columns, strict=True))
        recorded.append(run.predictions(epoch)[split][rows])
    with TemporaryDirectory(prefix="beft-") as name:
        folder = Path(name) / "adapter"
        write_folder(folder, files)
        adapted = read_adapted(folder)
        facts = adapted.facts.model_copy(update={"precision": "float32"})
        both = hosted([adapted, replace(adapted, facts=facts)], [folder, folder], base, "cpu")
        own, exact = (_in_batches(each.outputs, examples) for each in both)
        del both  # a decoder needs much memory
        theirs = _in_batches(_example(folder, base), examples)
    if is_decoder(recipe):  # of log-likelihoods, only differences decide
        own, exact, theirs = (x - x.max(axis=1, keepdims=True) for x in (own, exact, theirs))
    rounding = ROUNDING[adapted.facts.precision]
    wrong = {
        "beft": _decided_otherwise(own, np.concatenate(recorded), rounding),
        EXAMPLE: int(_apart(exact, theirs, ROUNDING["float32"]).any(axis=1).sum()),
    }
    for what, count in wrong.items():
        if count:
            raise UserError(
                f"{run.folder}: the adapter, loaded by {what}, answers {count} of {len(examples)} "
                "rows otherwise than the run; nothing was written: install the versions of torch, "
                "transformers and peft that the run had"
            )


def _columns(recipe: Recipe) -> list[str]:
    """The columns of a run's texts, in order."""
    if is_decoder(recipe):
        return list(dict.fromkeys(fields(recipe.task["wording"]["template"])))
    return list(recipe.task["text"])


def _in_batches(answer: Answer, examples: Examples) -> np.ndarray:
    parts = (examples[i : i + BATCH] for i in range(0, len(examples), BATCH))
    return np.concatenate([answer(part) for part in parts])


def _example(folder: Path, base: Path) -> Answer:
    """What example.py computes: texts -> outputs, (n, outputs)."""
    level = logging.get_verbosity()  # the program changes it
    try:
        with quiet_transformers(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as that a model has no bias to merge into
            program = runpy.run_path(str(folder / EXAMPLE))
            tokenizer, model = program["load"](base, None)
    finally:
        logging.set_verbosity(level)
    return lambda texts: program["outputs"](tokenizer, model, texts).numpy()


def _decided_otherwise(outputs: np.ndarray, recorded: np.ndarray, rounding: float) -> int:
    """How many rows are decided otherwise, and not because of rounding.

    Args:
        outputs: (n, outputs)
        recorded: classes (n,), or the output itself of a regression.
    """
    if outputs.shape[1] == 1:
        return int(_apart(outputs[:, 0], recorded, rounding).sum())
    own = np.take_along_axis(outputs, recorded[:, None].astype(np.int64), axis=1)[:, 0]
    return int(_apart(outputs.max(axis=1), own, 2 * rounding).sum())


def _apart(one: np.ndarray, other: np.ndarray, rounding: float) -> np.ndarray:
    """Which outputs differ by more than a share of the largest of them."""
    room = rounding * max(1.0, float(np.nanmax(np.abs(one), initial=0.0)))
    return np.abs(one - other) > room
