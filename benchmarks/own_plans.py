"""Plans of `beft tune` for the benchmark `own`, made while nothing else runs.

`python -m benchmarks.own_plans` measures what plans are made from, writes results/own_plans.json
and trains nothing else; it takes some minutes. `python -m benchmarks own` then follows these plans
however busy the machine is, and makes those that are missing.
"""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beft.errors import UserError
from beft.operations.gpus import device_of
from beft.store.files import to_json, write_file
from beft.tuning.tune import tune
from beft.tuning.wish import Talk, Wish
from benchmarks import measure, own_cases
from benchmarks.material import ROOT, Material
from benchmarks.own_methods import GRID, PLAN

MINUTES = 5.0
FIFTH = 5  # the grid's quality is wished for in this part of its time


@dataclass(frozen=True)
class Drawn:
    """A draw of the training rows of a case, and the methods that answer it."""

    case: str
    number: int
    source: Material
    methods: tuple[str, ...]
    minutes: float = MINUTES


def plans(draws: list[Drawn]) -> dict[str, Any]:
    """The plan of each draw and method that follows one; missing ones are made."""
    path = measure.RESULTS / "own_plans.json"
    found = json.loads(path.read_text()) if path.is_file() else {}
    for drawn in draws:
        for method in drawn.methods:
            key = key_of(drawn, method)
            if not method.startswith("tune") or key in found:
                continue
            with tempfile.TemporaryDirectory() as name:
                own_cases.write(drawn.source, Path(name))
                minutes = drawn.minutes if method == "tune" else _fifth(Path(name), drawn, found)
                found[key] = _called("own_plans", name, str(minutes))
            seconds = found[key]["content"]["plan"]["seconds"]
            print(f"{key}: {minutes:.1f} minutes, a plan of {seconds} s", file=sys.stderr)
            write_file(path, to_json(found))
    return found


def key_of(drawn: Drawn, method: str) -> str:
    """The name of a draw and a method."""
    return f"{drawn.case} {drawn.number} {method}"


def _fifth(folder: Path, drawn: Drawn, found: dict[str, Any]) -> float:
    """A fifth of the minutes that the grid takes, from one of its runs; one such time per case."""
    key = f"{drawn.case} grid"
    if key not in found:
        run = _called("own_methods", str(folder), "one_of_grid", "0")
        found[key] = {"seconds": round((len(GRID) + 1) * run["seconds"], 1)}
    return max(0.1, round(found[key]["seconds"] / 60 / FIFTH, 2))


def _called(module: str, *words: str) -> dict[str, Any]:
    """The last line that a module prints, called in a process of its own."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def _planned(folder: Path, minutes: float) -> dict[str, Any]:
    """What `beft tune` plans in a folder of a case: where it keeps the plan, and its content."""
    source, kept = own_cases.read(folder), {}
    os.chdir(folder)
    wish = Wish(
        str(source.model), tuple(source.task["text"]), "label", "test.csv",
        source.task["metric"], minutes, device=device_of("auto"),
    )  # fmt: skip

    def keep() -> bool:
        (path,) = (p for p in Path().rglob(PLAN))
        kept.update(path=str(path), minutes=minutes, content=json.loads(path.read_text()))
        return False  # nothing is to be trained

    try:
        tune(Path("train.csv"), wish, Path("adapter"), Talk(agrees=keep))
    except UserError:
        if not kept:
            raise
    return kept


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if len(sys.argv) > 1:
        print(json.dumps(_planned(Path(sys.argv[1]), float(sys.argv[2]))))
    else:
        from benchmarks.own import drawn

        plans(drawn())
