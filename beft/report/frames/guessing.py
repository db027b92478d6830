"""Compute what guessing gives, and tell whether a run predicts the same for every example."""

from collections.abc import Hashable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from beft.data.references import labels_of, references
from beft.errors import UserError
from beft.store.run_folder import Run
from beft.study.layout import Layout
from beft.study.recipe import Recipe, metrics_of
from beft.tasks.metrics import sums

Rates = dict[tuple[str, str], float]  # validation split and metric -> what guessing gives
CLOSE = 1e-6  # relative difference of predicted values that is rounding
_UNREADABLE = (UserError, OSError, LookupError, ValueError, pa.ArrowException)


@dataclass(frozen=True)
class Guesses:
    """What guessing gives on a project's validation splits, each computed once.

    Guessing answers every example with the most frequent class of the whole training split (the
    first one of several), or with one value where targets are values.
    """

    layout: Layout
    known: dict[Hashable, Rates] = field(default_factory=dict)

    def of(self, recipe: Recipe) -> Rates:
        """What guessing gives on the examples that a run is evaluated on, in each metric.

        Empty where answers are generated or have no classes, and where the dataset is not here.
        """
        task = recipe.task
        key = (recipe.source_path(), repr(task), recipe.training.get("evaluated"))
        if key not in self.known:
            try:
                self.known[key] = self._read(recipe) if "label" in task else {}
            except _UNREADABLE:  # results outlive their inputs; `beft verify` names what is damaged
                self.known[key] = {}
        return self.known[key]

    def _read(self, recipe: Recipe) -> Rates:
        task, source = recipe.task, self.layout.source(recipe)
        always = 0
        if task["labels"]:
            always = int(np.bincount(labels_of(source, task, task["train"])).argmax())
        found = {}
        for split in task["validation"]:
            right = references(source, recipe, split)
            said = np.full(len(right), always)
            for metric in metrics_of(task):
                columns = sums.columns(metric, said, right)
                found[split, metric] = float(sums.value(metric, columns.sum(axis=0), len(right)))
        return found


def is_constant(run: Run, split: str) -> bool | None:
    """Whether a run's best epoch predicts the same for every example of a split.

    None where its predictions were not kept, or the split has one example.
    """
    try:
        found = run.predictions("best")[split]
    except (OSError, LookupError):
        return None
    if len(found) < 2:
        return None
    if np.issubdtype(found.dtype, np.floating):
        return bool(np.allclose(found, found[0], rtol=CLOSE, atol=0))
    return bool((found == found[0]).all())
