"""The pipeline's own speed: command line, dry run of the paper's study, reports of 10,000 runs.

`python -m benchmarks.pipeline` prints the rows as JSON. Every time is that of a whole process.
"""

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import made_up

REPEATS = 3
HELP_SECONDS, DRY_RUN_SECONDS, REPORT_SECONDS = 0.5, 15.0, 30.0
REPORT_RULES = ("collect", "tabulate", "plot", "page")


def measure() -> list[dict]:
    """One row per case: case, ours_seconds (median), limit_seconds, repeats (seconds), note."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plain = made_up.copy(folder / "plain")
        rows = [_help(plain), _dry_run(plain)]
        project = made_up.project(folder / "project")
        for runs in made_up.REGIMES:
            rows += _report_and_verify(project, runs)
        return [*rows, _workflow(project, max(made_up.REGIMES))]


def _help(folder: Path) -> dict:
    _run(folder, "beft", "--help")  # compiles what was never imported before
    repeats = _repeat(lambda: _run(folder, "beft", "--help"))
    return _row("cli_help", HELP_SECONDS, repeats, "beft --help")


def _dry_run(folder: Path) -> dict:
    said = []
    command = ("snakemake", "-n", "--config", "study=paper")
    repeats = _repeat(lambda: said.append(_run(folder, *command)))
    jobs = re.search(r"^total +(\d+)", said[-1], re.M).group(1)
    return _row("dry_run_paper", DRY_RUN_SECONDS, repeats, f"{' '.join(command)}: {jobs} jobs")


def _report_and_verify(folder: Path, runs: int) -> list[dict]:
    study = ("--study", f"runs_{runs}")
    rows = []
    for command, limit in (("report", REPORT_SECONDS), ("verify", None)):
        repeats = _repeat(lambda words=(command, *study): _run(folder, "beft", *words))
        limit = limit if runs == max(made_up.REGIMES) else None
        rows.append(_row(f"{command}_{runs}", limit, repeats, f"beft {command}: {runs} runs"))
    return rows


def _workflow(folder: Path, runs: int) -> dict:
    """The rules that make reports from finished runs, with all that snakemake adds."""
    spent: list[str] = []

    def make() -> None:
        _run(folder, "snakemake", "--cores", "1", "--config", f"study=runs_{runs}")
        spent[:] = [f"{rule} {_seconds(folder, rule):.1f} s" for rule in REPORT_RULES]

    def forget() -> None:
        shutil.rmtree(folder / "reports")
        shutil.rmtree(folder / "data" / "collected")

    repeats = _repeat(make, before=forget)
    note = f"snakemake: {runs} finished runs; the last time {', '.join(spent)}"
    return _row(f"workflow_report_{runs}", REPORT_SECONDS, repeats, note)


def _seconds(folder: Path, rule: str) -> float:
    """What snakemake measured of a job."""
    names, values = (folder / "logs" / f"{rule}.tsv").read_text().splitlines()
    return float(dict(zip(names.split("\t"), values.split("\t"), strict=True))["s"])


def _row(case: str, limit: float | None, repeats: list[float], note: str) -> dict:
    return {
        "case": case,
        "ours_seconds": round(statistics.median(repeats), 3),
        "limit_seconds": limit,
        "repeats": [round(seconds, 3) for seconds in repeats],
        "note": note,
    }


def _repeat(
    action: Callable[[], object], before: Callable[[], object] | None = None
) -> list[float]:
    """Seconds that an action took, each time; `before` is not timed."""
    repeats = []
    for _ in range(REPEATS):
        if before:
            before()
        start = time.perf_counter()
        action()
        repeats.append(time.perf_counter() - start)
    return repeats


def _run(folder: Path, *command: str) -> str:
    """Runs a command in a project, with its own copy of the library and without network."""
    kept = {k: v for k, v in os.environ.items() if k != "BEFT_MIRROR"}
    own = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}",
        "PYTHONPATH": str(folder),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(command, cwd=folder, env=kept | own, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}\n{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    print(json.dumps(measure(), indent=1))
