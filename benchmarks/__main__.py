"""`python -m benchmarks [engine] [packs] [decoder] [pipeline] [cluster] [gpu]`: all or some."""

import logging
import os
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch

from benchmarks import cluster, decoder, engine, figure, measure, packs, pipeline

COLUMNS = {
    "engine": "case ours_seconds peer_seconds ratio ours_metric peer_metric repeats note",
    "packs": "case ours_seconds seconds_per_run peer_seconds ratio",
    "decoder": "case ours_seconds peer_seconds ratio ours_metric peer_metric repeats note",
    "pipeline": "case ours_seconds limit_seconds note",
    "cluster": "case seconds count per_second memory_mb note",
    "gpu": "case ours_seconds peer_seconds ratio runs_per_hour peak_memory_mb matrix_share note",
}


def _gpu() -> list[dict]:
    from benchmarks import gpu

    rows = gpu.measure("cuda" if torch.cuda.is_available() else "cpu", small=False)
    if rows and rows[0]["ours_seconds"] is not None:
        measure.save("gpu", rows)
    return rows


def _pipeline() -> list[dict]:
    rows = pipeline.measure()
    measure.save("pipeline", rows)
    return rows


def _cluster() -> list[dict]:
    rows = cluster.measure()
    if "seconds" in rows[0]:
        measure.save("cluster", rows)
    return rows


RUNNERS = {
    "engine": engine.run,
    "packs": packs.run,
    "decoder": decoder.run,
    "pipeline": _pipeline,
    "cluster": _cluster,
    "gpu": _gpu,
}


def main(names: list[str]) -> int:
    """Measures what is named; prints a table each; draws the figure from what is on file."""
    unknown = set(names) - set(RUNNERS)
    if unknown:
        print(f"benchmarks: unknown: {', '.join(unknown)}; valid: {', '.join(RUNNERS)}")
        return 2
    logging.getLogger("transformers").setLevel(logging.ERROR)
    for name in names or RUNNERS:
        measure.show(name, RUNNERS[name](), COLUMNS[name].split())
    print(figure.draw())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
