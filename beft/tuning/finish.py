"""The end of a call: the test, once, and the adapter."""

from pathlib import Path

import numpy as np

from beft.store.run_folder import open_run
from beft.study.project import Project
from beft.study.recipe import Recipe
from beft.tuning.base_model import Base
from beft.tuning.choice import Outcome
from beft.tuning.plan import Plan
from beft.tuning.race import Raced
from beft.tuning.result import Result
from beft.tuning.task import Task
from beft.tuning.tested import Tested, tested


def finish(
    project: Project,
    recipe: Recipe,
    to: Path,
    base: Base,
    task: Task,
    plan: Plan,
    raced: Raced,
    chosen: Outcome,
) -> Result:
    """Tests the last run and writes its adapter, and everything that supports the choice."""
    result = Result(
        chosen,
        raced,
        task.held_out,
        _tested(project, recipe, task),
        task.meaning,
        task.metric,
        100.0 if task.metric in ("accuracy", "f1", "f1_macro") else 1.0,
        to,
    )
    return result


def _tested(project: Project, recipe: Recipe, task: Task) -> Tested | None:
    if not len(task.cut.test):
        return None
    predictions = open_run(project.layout, recipe).predictions("last")["validation"]
    labels = task.all.labels[task.cut.test]
    if not task.is_classes:
        labels = (labels - task.meaning.mean) / task.meaning.deviation
    return tested(task.metric, np.asarray(predictions), labels, task.majority, task.meaning)
