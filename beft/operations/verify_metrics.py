"""`beft verify`: the metrics of a run are those that its predictions and the labels give."""

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import pyarrow.parquet as pq
from safetensors import SafetensorError

from beft.data.labelled import Labelled
from beft.data.mirror.lookup import locate
from beft.data.references import references
from beft.data.subsets import hold_out
from beft.errors import UserError, one_line
from beft.store.run_folder import Run
from beft.store.run_format import (
    EXAMPLES,
    METRICS,
    PREDICTIONS,
    Epoch,
    Scores,
    column,
    ended_epochs,
)
from beft.study.layout import Layout
from beft.study.recipe import Recipe, kind_of, metrics_of
from beft.tasks.metrics import sums

_DAMAGED = (OSError, SafetensorError)  # a file that is not listed, or is none of ours
SAME = 1e-7  # sums may be added in another order


class Examples(Protocol):
    """The right answers of a split: `Labelled` for encoders, `Prompts` for decoders."""

    def evaluate(self, predictions: np.ndarray, metrics: Sequence[str]) -> dict[str, float]:
        """Each metric as a fraction."""

    def columns(self, predictions: np.ndarray, metric: str) -> np.ndarray:
        """The terms that each example adds to a metric's sums, (n, k)."""


@dataclass(frozen=True)
class Answers:
    """The right answers of a project's splits, each read once."""

    layout: Layout
    known: dict[Hashable, Examples | None] = field(default_factory=dict)

    def of(self, recipe: Recipe, split: str) -> Examples | None:
        """A split without its tokens; None if no tokenizer is here to read generated answers."""
        is_encoder = kind_of(recipe.model) == "encoder"
        drawn = () if is_encoder else (recipe.model_path(), recipe.training["evaluated"])
        key = (recipe.source_path(), repr(recipe.task), split, *drawn)
        if key not in self.known:
            self.known[key] = self._read(recipe, split)
        return self.known[key]

    def _read(self, recipe: Recipe, split: str) -> Examples | None:
        right = references(self.layout.source(recipe), recipe, split)
        if isinstance(right, np.ndarray):
            return Labelled(right)
        from beft.data.prompts import Prompts  # its import takes seconds

        decode = self._reader(recipe) if recipe.task["kind"] == "generation" else str
        return Prompts([], [], [], right, decode) if decode else None

    def _reader(self, recipe: Recipe) -> Callable[[Sequence[int]], str] | None:
        from beft.data.prompts import reader
        from beft.models.decoder import read_tokenizer

        try:
            path = locate(self.layout.root, self.layout.model(recipe))
            return reader(read_tokenizer(path, recipe.model["alias"]))
        except UserError:
            return None  # results outlive the model


def metrics_flaw(run: Run, answers: Answers) -> str | None:
    """What a run's files say first that its predictions and the labels do not; None if nothing.

    Every metric of every validation split is computed again, and so are what each example adds to
    the reported one, the best epoch, and the numbers of epochs and training examples. The numbers
    of parameters are not.
    """
    try:
        return next(_differences(run, answers), None)
    except (UserError, LookupError, ValueError, TypeError, AttributeError, *_DAMAGED) as error:
        return f"{METRICS} does not fit the run's other files ({one_line(error)})"


def _differences(run: Run, answers: Answers) -> Iterator[str]:
    recipe, said = run.recipe, run.metrics
    names = metrics_of(recipe.task)
    columns, history = _history(run)
    yield from _unequal("metric", said["metric"], names[0])
    yield from _unequal("epochs", said["epochs"], ended_epochs(history))
    yield from _unequal("train_examples", said["train_examples"], _trained_on(run, answers.layout))
    if said["status"] != "ok":
        if any(v is not None for *_, both in _scores(run) for v in both.values()):
            yield f"{METRICS} gives metrics, but the run {said['status']}"
        return
    first = columns.index(column(recipe.splits()[0], names[0]))
    best = max(history, key=lambda epoch: (_number(history[epoch][first]), -epoch))
    yield from _unequal("best_epoch", said["best_epoch"], best)
    last = max(history)
    for split, name, both in _scores(run):
        place = columns.index(column(split, name))
        for epoch, said_, number in (("best", both["best"], best), ("last", both["last"], last)):
            noted = _number(history[number][place])
            yield from _unequal(f"{name} of {split} ({epoch})", said_, noted)
    epochs: list[Epoch] = ["last"] if best == last else ["best", "last"]
    for split in recipe.task["validation"]:
        examples = answers.of(recipe, split)
        if examples is not None:
            yield from _unanswered(run, split, names, examples, epochs)


def _unanswered(
    run: Run, split: str, names: list[str], examples: Examples, epochs: list[Epoch]
) -> Iterator[str]:
    """Compares the metrics of a split after these epochs with those of its predictions."""
    for epoch in epochs:
        predictions = run.predictions(epoch)[split]
        columns = examples.columns(predictions, names[0])
        if len(predictions) != len(columns):  # one prediction fits any number of labels
            yield f"{PREDICTIONS}: {len(predictions)} predictions on {len(columns)} of {split}"
        found = {names[0]: float(sums.value(names[0], columns.sum(axis=0), len(columns)))}
        found |= examples.evaluate(predictions, names[1:])
        for part, name, both in _scores(run):
            if part == split and not _close(both[epoch], found[name]):
                yield (
                    f"{METRICS}: {name} of {split} ({epoch}) is {both[epoch]}, but the run's "
                    f"predictions give {found[name]}"
                )
        kept = run.example_sums(epoch).get(split)
        if kept is not None and not (
            kept.shape == columns.shape and np.allclose(kept, columns, rtol=SAME, atol=SAME)
        ):
            yield f"{EXAMPLES}: not what the predictions on {split} ({epoch}) add"


def _history(run: Run) -> tuple[list[str], dict[int, list[str]]]:
    """The columns of history.csv, and its lines by their epoch."""
    lines = run.history_lines()
    columns = next(lines, [])
    epoch = columns.index("epoch")
    return columns, {int(line[epoch]): line for line in lines}


def _scores(run: Run) -> Iterator[tuple[str, str, Scores]]:
    """Split, metric and its values, of all metrics of a run."""
    for split, both in run.metrics["splits"].items():
        yield split, run.metrics["metric"], both
    for split, named in run.metrics.get("other_metrics", {}).items():
        for name, both in named.items():
            yield split, name, both


def _trained_on(run: Run, layout: Layout) -> int:
    recipe = run.recipe
    size = recipe.subset["size"]
    if size == "all":
        file = layout.source(recipe) / f"{recipe.task['train']}.parquet"
        size = pq.read_metadata(file).num_rows
    rows = np.arange(size)
    kept, _ = hold_out(rows, recipe.training.get("held_out", 0.0), recipe.task["name"])
    return len(kept)


def _number(text: str) -> float:
    return float(text or math.nan)


def _unequal(what: str, said: object, found: object) -> Iterator[str]:
    if said != found:
        yield f"{METRICS}: {what} is {said}, but the run's other files give {found}"


def _close(said: float | None, found: float) -> bool:
    return said is not None and math.isclose(said, found, rel_tol=SAME, abs_tol=SAME)
