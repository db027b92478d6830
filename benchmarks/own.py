"""One's own labelled file: `beft tune`, and what else users would do with as many rows.

All get the same training rows and are scored once on the same test rows, which nothing was chosen
on. Each answer is a process of its own, whose wall and CPU seconds, with those of the processes
that it starts, count from its start to its end. Writes results/own.json after each answer, and
measures no answer again that stands there: delete the file to begin anew. `python -m benchmarks
own` takes hours, so `make bench` leaves it out. On a busy machine run `python -m
benchmarks.own_plans` beforehand, while it is idle: what `tune` does then depends on nothing else.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t as student

from benchmarks import measure as M
from benchmarks import own_cases
from benchmarks.material import ROOT
from benchmarks.own_cases import CASES, DRAWS
from benchmarks.own_methods import GRID, PAIR_STEPS, PLAN
from benchmarks.own_plans import FIFTH, Drawn, key_of, plans
from benchmarks.random_material import tiny

COLUMNS = ["case", "method", "value", "lowest", "highest", "seconds", "cpu_seconds", "draws"]
COLUMNS += ["minus", "minus_low", "minus_high"]
QUICK = ("tune", "probe", "setfit", "lora", "beft_v")
SLOW = ("grid", "tune_fifth")  # hours for five draws of each case
SLOW_DRAWS = 2
LEVEL = 0.95


def run(smoke: bool = False) -> list[dict]:
    """A row for each case and method."""
    if smoke:
        with tiny() as source:
            return _measured([Drawn("tiny", 0, source, ("tune", "probe"), 0.1)])
    return _measured(drawn())


def drawn() -> list[Drawn]:
    """All draws: the first of each case, then the others, so that each case has an answer soon."""
    found = []
    for number in range(max(DRAWS.values())):
        for case in CASES:
            if number < DRAWS.get(case, 1):
                source = own_cases.draw(case, number)
                left_out = {"setfit"} if source.outputs == 1 or not find_spec("setfit") else set()
                methods = (*QUICK, *SLOW) if number < SLOW_DRAWS else QUICK
                kept = tuple(m for m in methods if m not in left_out)
                found.append(Drawn(case, number, source, kept))
    return found


def _measured(draws: list[Drawn]) -> list[dict]:
    planned = plans(draws)
    answers: dict[str, Any] = M.load("own").get("answers", {})
    for each in draws:
        for method in each.methods:
            key = key_of(each, method)
            if key in answers:
                continue
            answers[key] = _answer(each, method, planned.get(key))
            M.report({"answer": key, **answers[key]})
            facts = {"minutes": each.minutes, "fifth": FIFTH, "grid": len(GRID)}
            facts |= {"pair_steps": PAIR_STEPS, "answers": answers}
            M.save("own", _rows(draws, answers), **facts)
    return _rows(draws, answers)


def _answer(drawn: Drawn, method: str, plan: dict[str, Any] | None) -> dict[str, Any]:
    """What a method answers, in a process of its own, and the seconds that it takes."""
    with tempfile.TemporaryDirectory() as name:
        own_cases.write(drawn.source, Path(name))
        if plan is not None:
            (Path(name) / PLAN).write_text(json.dumps(plan))
        command = [sys.executable, "-m", "benchmarks.own_methods", name, method, str(drawn.number)]
        start, before = time.perf_counter(), _cpu_of_children()
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        seconds, cpu = time.perf_counter() - start, _cpu_of_children() - before
    if done.returncode:
        raise RuntimeError(f"{drawn.case} {drawn.number} {method}: {done.stderr}")
    found = json.loads(done.stdout.splitlines()[-1])
    return {**found, "seconds": round(seconds, 1), "cpu_seconds": round(cpu, 1)}


def _cpu_of_children() -> float:
    """CPU seconds of processes that have ended, and of those that they waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _rows(draws: list[Drawn], answers: dict[str, Any]) -> list[dict]:
    """The mean and the range of each case and method over draws, and `tune` minus it."""
    rows = []
    for case in dict.fromkeys(each.case for each in draws):
        mine = [each for each in draws if each.case == case]
        for method in mine[0].methods:
            found = {
                each.number: answers[key_of(each, method)]
                for each in mine
                if key_of(each, method) in answers
            }
            if found:
                ours = {each.number: answers.get(key_of(each, "tune")) for each in mine}
                rows.append(_row(mine[0], method, found) | _minus(method, ours, found))
    return rows


def _row(drawn: Drawn, method: str, found: dict[int, dict]) -> dict:
    first, values = next(iter(found.values())), [a["value"] for a in found.values()]
    return {
        "case": drawn.case,
        "method": method,
        "metric": drawn.source.task["metric"],
        "value": round(float(np.mean(values)), 4),
        "lowest": round(min(values), 4),
        "highest": round(max(values), 4),
        "seconds": float(np.median([a["seconds"] for a in found.values()])),
        "cpu_seconds": float(np.median([a["cpu_seconds"] for a in found.values()])),
        "planned": float(np.median([a["planned"] for a in found.values()]))
        if "planned" in first
        else None,
        "draws": len(found),
        "test_rows": len(drawn.source.validation),
        "note": "; ".join(dict.fromkeys(a["note"] for a in found.values())),
    }


def _minus(method: str, ours: dict[int, dict | None], theirs: dict[int, dict]) -> dict:
    """`tune` minus the method on the same draws; an interval of Student's from two draws on."""
    pairs = [(o["value"], theirs[n]["value"]) for n, o in ours.items() if o and n in theirs]
    if method == "tune" or not pairs:
        return {"minus": None, "minus_low": None, "minus_high": None}
    found = np.array([one - other for one, other in pairs])
    mean, half = float(found.mean()), None
    if len(found) > 1:
        error = float(found.std(ddof=1)) / len(found) ** 0.5
        half = float(student.ppf((1 + LEVEL) / 2, len(found) - 1)) * error
    ends = (None, None) if half is None else (round(mean - half, 4), round(mean + half, 4))
    return {"minus": round(mean, 4), "minus_low": ends[0], "minus_high": ends[1]}
