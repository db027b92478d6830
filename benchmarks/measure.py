"""Rows of results: alternating repetitions, medians, what they were measured with, files."""

import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from beft.store.files import to_json, write_file
from beft.training.provenance import hardware
from benchmarks.material import ROOT

ON_FILE = ROOT / "benchmarks" / "results"
RESULTS = ON_FILE  # where results are written now
WRITTEN = ("benchmarks/results", "docs/performance.md", "README.md", "reports")  # by benchmarks
PACKAGES = ("torch", "transformers", "peft", "accelerate", "numpy", "snakemake", "setfit")
Side = Callable[[int], tuple[float, float]]  # repetition -> (seconds, metric)


@dataclass(frozen=True)
class Start:
    """The circumstances in which a part began."""

    clock: float  # of `time.perf_counter`
    idle_cores: float | None  # None where the system does not say
    commit: str  # with a plus where files differ from it


def begin(sample: float = 1.0) -> Start:
    """Watches the machine for so many seconds; what `save` writes from now on says what it saw."""
    global _start
    _start = Start(time.perf_counter(), idle_cores(sample) if sample else None, commit())
    return _start


_start: Start | None = None


def idle_cores(sample: float) -> float | None:
    """How many cores had nothing to do for so many seconds."""
    if not Path("/proc/stat").exists():
        return None
    before = _idle()
    time.sleep(sample)
    return round((_idle() - before) / os.sysconf("SC_CLK_TCK") / sample, 1)


def _idle() -> int:
    """Ticks of all cores without work, or with nothing but a wait for a disk."""
    return sum(map(int, Path("/proc/stat").read_text().split(maxsplit=6)[4:6]))


def commit() -> str:
    """The commit of this repository, a plus where its files differ; empty outside of git."""
    others = [f":!{path}" for path in WRITTEN]

    def git(*words: str) -> str:
        call = ("git", "-C", str(ROOT), *words)
        return subprocess.run(call, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", *others)
        return git("rev-parse", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def report(row: dict) -> None:
    """Prints a row of results at once, for those who wait."""
    shown = {key: value for key, value in row.items() if key not in ("raw", "note")}
    Console(stderr=True).print(*(f"{key} {value}" for key, value in shown.items()))


def timed(work: Callable[[], object]) -> float:
    """Seconds that it takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def alternate(case: str, ours: Side, peer: Side, repeats: int, note: str = "") -> dict:
    """Ours, the peer, ours, the peer ...: medians of seconds, means of metrics."""
    raw: dict[str, list[tuple[float, float]]] = {"ours": [], "peer": []}
    for repeat in range(repeats):
        for name, side in (("ours", ours), ("peer", peer)):
            raw[name].append(side(repeat))
            seconds, metric = raw[name][-1]
            Console(stderr=True).print(f"{case} {name} {seconds:.2f} s, metric {metric:.4g}")
    seconds = {n: statistics.median(s for s, _ in r) for n, r in raw.items()}
    metric = {n: statistics.fmean(m for _, m in r) for n, r in raw.items()}
    return {
        "case": case,
        "ours_seconds": round(seconds["ours"], 3),
        "peer_seconds": round(seconds["peer"], 3),
        "ratio": round(seconds["peer"] / seconds["ours"], 2),
        "ours_metric": float(f"{metric['ours']:.4g}"),
        "peer_metric": float(f"{metric['peer']:.4g}"),
        "repeats": repeats,
        "raw": {n: [[round(s, 3), float(f"{m:.4g}")] for s, m in r] for n, r in raw.items()},
        "note": note,
    }


def setting(**facts: object) -> dict:
    """Hardware, versions, commit, seconds since the part began, and facts of the caller's."""
    start = _start or begin()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return {
        "hardware": hardware(device),
        "threads": torch.get_num_threads(),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
        "commit": start.commit,
        "idle_cores": start.idle_cores,
        "seconds": round(time.perf_counter() - start.clock),
        **facts,
    }


def _version(package: str) -> str:
    """Empty where a package is not installed, such as Snakemake beside a GPU."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def save(name: str, rows: list[dict], **facts: object) -> None:
    """Writes results/{name}.json; called after each case, so that nothing measured is lost."""
    write_file(RESULTS / f"{name}.json", to_json({**setting(**facts), "rows": rows}))


def load(name: str) -> dict:
    """What `save` wrote; no rows where nothing was measured yet."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {"rows": []}


def _width(rows: list[dict], column: str) -> int | None:
    """What names of cases need; other columns may wrap."""
    return max(len(row["case"]) for row in rows) if column == "case" else None


def show(title: str, rows: list[dict], columns: list[str]) -> None:
    """Prints these columns of the rows."""
    table = Table(title=title)
    for column in columns:
        justify = "left" if column in ("case", "note") else "right"
        table.add_column(column, justify=justify, min_width=_width(rows, column))
    for row in rows:
        table.add_row(*("" if row.get(c) is None else str(row[c]) for c in columns))
    Console(width=140).print(table)
