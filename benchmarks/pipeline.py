"""The pipeline's own speed: command line, dry run of the paper's study, reports of 10,000 runs.

Every time is that of a whole process.
"""

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
from benchmarks import measure as M

REPEATS = 3
HELP_SECONDS, DRY_RUN_SECONDS, REPORT_SECONDS, VERIFY_SECONDS = 0.5, 15.0, 30.0, 20.0
REPORT_RULES = ("collect", "tabulate", "plot", "page")


def run(smoke: bool = False) -> list[dict]:
    """One row per case: case, ours_seconds (median), limit_seconds, repeats (seconds), note.

    Args:
        smoke: two made-up runs instead of thousands, each command once.
    """
    grid = made_up.SMOKE if smoke else made_up.WHOLE
    repeats, most = 1 if smoke else REPEATS, max(grid.regimes)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plain = made_up.copy(folder / "plain")
        project = made_up.project(folder / "project", grid)
        rows = [_help(plain, repeats), _dry_run(plain, repeats)]
        for runs in grid.regimes:
            rows += _report_and_verify(project, runs, most, repeats)
        if not smoke:  # tests run the workflow anyway
            rows.append(_workflow(project, most, repeats))
    M.save("pipeline", rows)
    return rows


def _help(folder: Path, times: int) -> dict:
    _run(folder, "beft", "--help")  # compiles what was never imported before
    repeats = _repeat(lambda: _run(folder, "beft", "--help"), times)
    return _row("cli_help", HELP_SECONDS, repeats, "beft --help")


def _dry_run(folder: Path, times: int) -> dict:
    said: list[str] = []
    command = ("snakemake", "-n", "--config", "study=paper")
    repeats = _repeat(lambda: said.append(_run(folder, *command)), times)
    jobs = re.search(r"^total +(\d+)", said[-1], re.M).group(1)
    return _row("dry_run_paper", DRY_RUN_SECONDS, repeats, f"{' '.join(command)}: {jobs} jobs")


def _report_and_verify(folder: Path, runs: int, most: int, times: int) -> list[dict]:
    study = ("--study", f"runs_{runs}")
    rows = []
    for command, limit in (("report", REPORT_SECONDS), ("verify", VERIFY_SECONDS)):
        repeats = _repeat(lambda words=(command, *study): _run(folder, "beft", *words), times)
        limit = limit if runs == most else None
        rows.append(_row(f"{command}_{runs}", limit, repeats, f"beft {command}: {runs} runs"))
    return rows


def _workflow(folder: Path, runs: int, times: int) -> dict:
    """The rules that make reports from finished runs, with all that snakemake adds."""
    spent: list[str] = []

    def make() -> None:
        _run(folder, "snakemake", "--cores", "1", "--config", f"study=runs_{runs}")
        spent[:] = [f"{rule} {_seconds(folder, rule):.1f} s" for rule in REPORT_RULES]

    def forget() -> None:
        shutil.rmtree(folder / "reports")
        shutil.rmtree(folder / "data" / "collected")

    repeats = _repeat(make, times, before=forget)
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
    action: Callable[[], object], times: int, before: Callable[[], object] | None = None
) -> list[float]:
    """Seconds that an action took, each time; `before` is not timed."""
    repeats = []
    for _ in range(times):
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
