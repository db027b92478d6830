"""The end of a call: the test, once, and the adapter with everything that supports the choice."""

from pathlib import Path

import numpy as np

from beft.store.csv_text import to_csv_of_lines
from beft.store.files import to_json
from beft.store.run_folder import open_run
from beft.study.project import Project
from beft.study.recipe import Recipe
from beft.tuning.adapter import adapter_files, write
from beft.tuning.base_model import NamedModel
from beft.tuning.candidates import PAIRS
from beft.tuning.card import Card
from beft.tuning.choice import Outcome
from beft.tuning.page import render_page
from beft.tuning.plan import Plan
from beft.tuning.race import Raced
from beft.tuning.result import Result
from beft.tuning.subject import Subject
from beft.tuning.task import Task
from beft.tuning.tested import Tested, score_rows

PERCENT = ("accuracy", "f1", "f1_macro")


def finish(
    project: Project,
    recipe: Recipe,
    subject: Subject,
    to: Path,
    base: NamedModel,
    task: Task,
    plan: Plan,
    raced: Raced,
    chosen: Outcome,
) -> Result:
    """Tests the last run and writes its adapter, whole or not at all."""
    scale = 100.0 if task.metric in PERCENT else 1.0
    found = _tested(project, recipe, task)
    result = Result(*(chosen, raced, task.held_out, found, task.meaning, task.metric, scale, to))
    card = _card(result, task, recipe)
    files = adapter_files(project, recipe, task.meaning, card, to, origin=(base.hub, base.revision))
    others = [o.candidate for o in result.ranked()]
    final = recipe.training["epochs"] or 1
    page = render_page(subject, chosen.candidate, others, plan.epochs, final)
    files |= {"runs.csv": _runs(raced), "split.csv": _split(task), "report.html": page}
    files["plan.json"] = to_json(plan.to_dict())
    write(to, files)
    return result


def _tested(project: Project, recipe: Recipe, task: Task) -> Tested:
    predicted = np.asarray(open_run(project.layout, recipe).predictions("last")["validation"])
    if not task.is_classes:
        predicted = predicted * task.meaning.deviation + task.meaning.mean
    truth = task.all.labels[task.cut.test]
    return score_rows(task.metric, predicted, truth, task.majority, task.meaning)


def _card(result: Result, task: Task, recipe: Recipe) -> Card:
    """What is told of the adapter."""
    candidate, found = result.chosen.candidate, result.tested
    labels = task.all.labels[task.cut.pool]
    counts = {name: int((labels == i).sum()) for i, name in enumerate(task.columns.classes)}
    settings = {"learning rate": f"{candidate.rate:g}"} if candidate.trains else {}
    if candidate.trains:
        settings["epochs"] = str(recipe.training["epochs"])
        settings["loss"] = (
            ("pairs of texts" if candidate.objective == PAIRS else "cross-entropy")
            if task.is_classes
            else "squared error"
        )
        settings["batch size"] = str(recipe.training["batch_size"])
    if candidate.weighted:
        settings["class weights"] = "balanced"
    rows = tuple(
        (str(o.candidate), f"{o.candidate.rate:g}" if o.candidate.trains else "-",
         str(o.epoch or "-"), result.shown(o.mean), result.compared(o) or "chosen")
        for o in result.ranked()
    )  # fmt: skip
    head = ("way", "rate", "epochs", f"{task.metric} on held-out folds", "minus the choice")
    return Card(
        name=result.folder.name,
        files=task.files,
        training_rows=len(task.cut.pool),
        counts=counts,
        settings=settings,
        candidates=(head, rows),
        metric=task.metric,
        value=found.value,
        low=found.low,
        high=found.high,
        guessing=found.guess,
        truth=found.truth,
        predicted=found.predicted,
        warnings=tuple([*task.warnings(), *result.warnings()]),
        interval="95 % bootstrap interval over test rows",
    )


def _runs(raced: Raced) -> bytes:
    """A row for each candidate, round and fold."""
    rows = [
        (name, o.candidate.technique, o.candidate.pooling, o.candidate.objective or "own",
         o.candidate.rate, fold + 1, o.epoch, value)
        for name, outcomes in (("first", raced.first), ("last", raced.last))
        for o in outcomes
        for fold, value in enumerate(o.values)
    ]  # fmt: skip
    head = "round", "technique", "pooling", "objective", "rate", "fold", "epoch", "value"
    return to_csv_of_lines(head, rows)


def _split(task: Task) -> bytes:
    """A row for each row of the data: what it was used for."""
    tests = [(task.test_file, int(task.all.rows[i]), "test") for i in task.cut.test]
    pool = [
        (task.name, int(task.all.rows[i]), f"fold {fold + 1}")
        for i, fold in zip(task.cut.pool, task.cut.folds, strict=True)
    ]
    return to_csv_of_lines(("file", "row", "part"), sorted(pool + tests))
