"""Tune the biases of a model on one's own labelled file: the whole way, from file to adapter."""

import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from beft.adapters.export import check_target
from beft.errors import UserError
from beft.store.files import read_json, to_json, write_file
from beft.store.locks import lock
from beft.study.identity import digest
from beft.study.layout import Layout
from beft.tuning.base_model import NamedModel, find_named
from beft.tuning.candidates import Candidate
from beft.tuning.choice import choose
from beft.tuning.finish import finish
from beft.tuning.plan import Plan, make_plan, measure
from beft.tuning.project import (
    FINAL,
    Stage,
    fold_name,
    prepare,
    recipe_of,
    write_params,
    write_rows,
    write_study,
)
from beft.tuning.race import race
from beft.tuning.result import Result
from beft.tuning.task import Task, about, longest, read_task
from beft.tuning.wish import Talk, Wish
from beft.tuning.workers import LOG, Workers, cores

PLAN = "plan.json"
PLAN_VERSION = 2  # raised when the same wish and cost would give another plan


def tune(data: Any, wish: Wish, to: Path | None = None, talk: Talk | None = None) -> Result:
    """Tunes a model on labelled examples, tests it once and writes an adapter.

    A call that was stopped goes on where it was, if it is repeated.

    Args:
        data: path of a file; or a DataFrame, a list of dicts, a dict of lists.
        to: the folder to write, absent or empty. Default: a temporary one.

    Raises:
        UserError: one line that names what is wrong, and what to do.
    """
    to = to or Path(tempfile.mkdtemp(prefix="beft-")) / "adapter"
    check_target(to)
    place = to.resolve()  # where `.` has a name
    root = place.parent / f".{place.name}.work"
    base, task = find_named(wish.model), read_task(data, wish)
    with lock(Layout(root).work("tune")):
        check_target(to)  # which another call may have written meanwhile
        done = False
        try:
            result = _tune(root, to, base, task, wish, talk or Talk())
            done = True
        finally:
            if done or not (root / LOG).is_file():  # nothing was trained
                shutil.rmtree(root, ignore_errors=True)
    return result


def _tune(root: Path, to: Path, base: NamedModel, task: Task, wish: Wish, talk: Talk) -> Result:
    max_length, lengths = longest(base, task)
    for line in about(task, max_length, lengths):
        talk.say(line)
    write_rows(root, task.all, task.cut, task.meaning)
    given = root, base.folder, task.meaning, task.metric, max_length, task.folds
    write_params(*given, Path("studies/first.yaml"))
    workers = wish.workers or (1 if wish.device != "cpu" else cores())
    plan = _plan(root, task, wish, workers, lengths)
    minutes = max(1, round(plan.seconds / 60))
    talk.say(
        f"plan: {plan.runs(task.kind)} runs in two rounds and a last one, about {minutes} "
        f"minute{'s' * (minutes > 1)} with {workers} process{'es' * (workers > 1)}"
        f"{f'; more minutes would allow more than {plan.cut}' if plan.cut else ''}"
    )
    if not talk.agrees():
        raise UserError("not started; nothing was written")
    with Workers(root, workers, wish.device) as trained:
        raced = race(*(root, plan, task.kind, trained), lambda share: talk.progress("race", share))
        if not raced.last:
            reason = next(iter(raced.failed.values()), "its log says why")
            raise UserError(f"no run ended well: {reason}; {root / LOG}")
        chosen = choose(raced.last, task.held_out)
        stage = Stage(FINAL, 0, max(1, chosen.epoch), (chosen.candidate,))
        study = write_study(root, "final", [stage])
        project = prepare(root, study)
        recipe = recipe_of(project, stage, chosen.candidate)
        talk.progress("last training", 0.0)
        trained.train(study, [[recipe.digest]], lambda share: talk.progress("last training", share))
    return finish(project, recipe, to, base, task, plan, raced, chosen)


def _plan(root: Path, task: Task, wish: Wish, workers: int, lengths: np.ndarray) -> Plan:
    """The plan of an earlier call with this wish, which it goes on with; else a new one."""
    path = root / PLAN
    asked = digest([PLAN_VERSION, wish.to_plain(), task.content, workers])
    if path.is_file():
        known = read_json(path)
        if known.get("wish") == asked:
            return Plan(**known["plan"])
    probe = Stage(fold_name(0), 0, 1, (Candidate("b_v", "mean", rate=1e-3),))
    project = prepare(root, write_study(root, "measured", [probe]))
    recipe = recipe_of(project, probe, probe.candidates[0])
    cost = measure(root, recipe, wish.device)
    plan = make_plan(cost, task.load(lengths), task.folds, task.kind, wish.minutes, workers)
    write_file(path, to_json({"wish": asked, "cost": asdict(cost), "plan": plan.to_dict()}))
    return plan
