"""Tune the biases of a model on one's own labelled file: the whole way, from file to adapter."""

import shutil
import tempfile
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from beft.adapters.export import check_target
from beft.errors import UserError
from beft.store.files import read_json, to_json, write_file
from beft.store.locks import lock
from beft.study.identity import digest
from beft.tuning.base_model import NamedModel, find_named
from beft.tuning.candidates import candidates
from beft.tuning.choice import choose
from beft.tuning.finish import finish
from beft.tuning.in_project import define, publish, write_race
from beft.tuning.place import Place, beside
from beft.tuning.plan import Plan, make_plan, measure
from beft.tuning.project import prepare, recipe_of, write_rows, write_step
from beft.tuning.prompt import asks
from beft.tuning.race import jobs, left, race
from beft.tuning.result import Result
from beft.tuning.subject import Subject
from beft.tuning.task import Task, about, read_task
from beft.tuning.tokens import Reading, reading
from beft.tuning.wish import Talk, Wish
from beft.tuning.workers import Workers, cores

PLAN_VERSION = 3  # raised when the same wish and cost would give another plan


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
    place = beside(to)
    result = tune_at(place, data, wish, to, talk or Talk())
    assert result is not None  # since there is a folder to write
    return result


def tune_at(place: Place, data: Any, wish: Wish, to: Path | None, talk: Talk) -> Result | None:
    """The same in a place, whose files stay; without `to`, only as far as the study of a project.

    Raises:
        UserError: as `tune`.
    """
    if to is not None:
        check_target(to)
    base = find_named(wish.model)
    task = read_task(data, wish, prompts=asks(base, wish))
    with lock(place.lock):
        done = False
        try:
            if to is not None:
                check_target(to)  # which another call may have written meanwhile
            result = _tune(place, to, base, task, wish, talk)
            done = True
        finally:
            if not place.is_begun or (done and not place.study):
                shutil.rmtree(place.folder, ignore_errors=True)
    return result


def _tune(
    place: Place, to: Path | None, base: NamedModel, task: Task, wish: Wish, talk: Talk
) -> Result | None:
    read = reading(base, task.all, task.meaning, task.name)
    for line in about(task, read):
        talk.say(line)
    workers = wish.workers or (1 if wish.device != "cpu" else cores())
    asked = _asked(wish, task, workers, is_study=bool(place.study))
    plan = _known(place, asked)
    subject = define(place, base, task.meaning, task.metric, read.max_length, task.folds)
    write_rows(subject, task.all, task.cut)
    if plan is None:
        plan = _new(subject, asked, task, wish, workers, read)
    talk.say(_told(plan, plan.runs(task.kind), workers, wish.minutes))
    if place.study:
        talk.say(f"study {place.race}: {write_race(subject, plan, task.kind)} runs")
    if to is None:
        return None
    if not talk.agrees():
        raise UserError("not started" if place.study else "not started; nothing was written")
    return _raced(subject, to, base, task, plan, workers, wish.device, talk)


def _raced(
    subject: Subject,
    to: Path,
    base: NamedModel,
    task: Task,
    plan: Plan,
    workers: int,
    device: str,
    talk: Talk,
) -> Result:
    place = subject.place
    with Workers(place.params, place.log, workers, device) as trained:
        raced = race(subject, plan, task.kind, trained, partial(talk.progress, "race"))
        if not raced.last:
            reason = next(iter(raced.failed.values()), "its log says why")
            raise UserError(f"no run ended well: {reason}; {place.log}")
        chosen = choose(raced.last, task.held_out)
        stage = subject.last(max(1, chosen.epoch), chosen.candidate)
        study = publish(subject, place.last, [stage])
        project = prepare(place.params, study)
        recipe = recipe_of(project, stage, chosen.candidate)
        talk.progress("last training", 0.0)
        trained.train(
            study, jobs(left(project, [recipe]), 1), partial(talk.progress, "last training")
        )
    return finish(project, recipe, subject, to, base, task, plan, raced, chosen)


def _told(plan: Plan, runs: int, workers: int, given: float) -> str:
    """The plan in one line."""
    minutes, short = max(1, round(plan.seconds / 60)), plan.seconds > 60 * given
    return (
        f"plan: {runs} runs in two rounds and a last one, about {minutes} "
        f"minute{'s' * (minutes > 1)} with {workers} process{'es' * (workers > 1)}"
        f"{f', the shortest there is (--minutes {given:g})' if short else ''}"
        f"{f'; more minutes would allow more than {plan.cut}' if plan.cut else ''}"
    )


def _asked(wish: Wish, task: Task, workers: int, is_study: bool) -> str:
    """What a plan is made for: a study's is for any machine."""
    plain = wish.to_plain() | {"workers": workers}
    if is_study:
        plain |= {"workers": None, "device": None}
    return digest([PLAN_VERSION, plain, task.content])


def _known(place: Place, asked: str) -> Plan | None:
    """The plan of an earlier call with the same wish, which this one goes on with.

    Raises:
        UserError: the study of a project was planned for another wish.
    """
    known = read_json(place.plan) if place.plan.is_file() else {}
    if known.get("wish") == asked:
        return Plan(**known["plan"])
    if known and place.is_begun and place.study:
        raise UserError(
            f"--study {place.study}: {place.race} was made for another file or with other options; "
            "give the study another name, or repeat that call"
        )
    return None


def _new(subject: Subject, asked: str, task: Task, wish: Wish, workers: int, read: Reading) -> Plan:
    place = subject.place
    one = next(c for c in candidates(task.kind, 1) if c.technique == "b_v")
    probe = subject.fold(0, 1, [one])
    project = prepare(place.params, write_step(subject, "measured", [probe]))
    cost = measure(place.root, recipe_of(project, probe, probe.candidates[0]), wish.device)
    plan = make_plan(cost, task.load(read), task.folds, task.kind, wish.minutes, workers)
    write_file(place.plan, to_json({"wish": asked, "cost": asdict(cost), "plan": plan.to_dict()}))
    return plan
