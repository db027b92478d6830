"""Rows of results: alternating repetitions, medians, what they were measured with, files."""

import json
import statistics
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from beft.store.files import to_json, write_file
from beft.training.provenance import commit, hardware

RESULTS = Path(__file__).resolve().parent / "results"
PACKAGES = ("torch", "transformers", "peft", "accelerate", "numpy", "snakemake")
Side = Callable[[int], tuple[float, float]]  # repetition -> (seconds, metric)


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
            Console(stderr=True).print(f"{case} {name} {seconds:.2f} s, metric {metric:.4f}")
    seconds = {n: statistics.median(s for s, _ in r) for n, r in raw.items()}
    metric = {n: statistics.fmean(m for _, m in r) for n, r in raw.items()}
    return {
        "case": case,
        "ours_seconds": round(seconds["ours"], 3),
        "peer_seconds": round(seconds["peer"], 3),
        "ratio": round(seconds["peer"] / seconds["ours"], 2),
        "ours_metric": round(metric["ours"], 4),
        "peer_metric": round(metric["peer"], 4),
        "repeats": repeats,
        "raw": {n: [[round(s, 3), round(m, 4)] for s, m in r] for n, r in raw.items()},
        "note": note,
    }


def setting(**facts: object) -> dict:
    """Hardware, versions, commit, and further facts of the caller's."""
    revision, dirty = commit(Path(__file__).resolve().parent.parent)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return {
        "hardware": hardware(device),
        "threads": torch.get_num_threads(),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
        "commit": revision + ("+" if dirty else ""),
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


def show(title: str, rows: list[dict], columns: list[str]) -> None:
    """Prints these columns of the rows."""
    table = Table(title=title)
    for column in columns:
        table.add_column(column, justify="left" if column in ("case", "note") else "right")
    for row in rows:
        table.add_row(*("" if row.get(c) is None else str(row[c]) for c in columns))
    Console(width=120).print(table)
