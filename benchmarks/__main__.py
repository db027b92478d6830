"""`python -m benchmarks [PART ...] [--smoke]`: measures all parts, or some.

Then it writes the figure and docs/performance.md from all results on file; `docs` does only this.
With `--smoke` a part only tries itself in seconds: its smallest form, tiny models, no network.
"""

import argparse
import logging
import os
import sys
import tempfile
import time
from pathlib import Path

if __name__ == "__main__":  # before libraries read it
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    # Trainer takes every GPU that it sees, with a larger batch.
    os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]

from benchmarks import (
    cluster,
    decoder,
    engine,
    few,
    figure,
    gpu,
    measure,
    memory,
    own,
    packs,
    page,
    pipeline,
    steps,
)

PEERS = [
    "case",
    "ours_seconds",
    "peer_seconds",
    "ratio",
    "ours_metric",
    "peer_metric",
    "repeats",
    "note",
]
PARTS = {
    "engine": (engine.run, PEERS),
    "packs": (packs.run, packs.COLUMNS),
    "steps": (steps.run, steps.COLUMNS),
    "few": (few.run, few.COLUMNS),
    "decoder": (decoder.run, PEERS),
    "pipeline": (pipeline.run, ["case", "ours_seconds", "limit_seconds", "note"]),
    "cluster": (cluster.run, ["case", "seconds", "count", "per_second", "memory_mb", "note"]),
    "gpu": (gpu.run, gpu.SHOWN),
    "memory": (memory.run, memory.COLUMNS),
    "own": (own.run, own.COLUMNS),
}
# Of the others, one needs more memory than most have, and one takes hours.
DEFAULT = [name for name in PARTS if name not in ("memory", "own")]


def main(words: list[str]) -> int:
    """Measures what is named; prints a table each; draws and writes from what is on file."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}, docs")
    parser.add_argument("--smoke", action="store_true", help="try it in seconds; keep no results")
    parser.add_argument("--to", type=Path, metavar="FOLDER", help="for results; default: on file")
    wish = parser.parse_args(words)
    if unknown := set(wish.parts) - {*PARTS, "docs"}:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; valid: {', '.join(PARTS)}, docs")
    logging.getLogger("transformers").setLevel(logging.ERROR)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        if wish.smoke or wish.to:
            measure.RESULTS = wish.to or Path(folder)
        for name in wish.parts or DEFAULT:
            if name != "docs":
                _measure(name, wish.smoke)
        print(figure.draw())
        if measure.RESULTS == measure.ON_FILE:
            print(*page.write(), sep="\n")
    print(f"all: {time.perf_counter() - began:.0f} s")
    return 0


def _measure(name: str, smoke: bool) -> None:
    """One part, with the seconds that it took."""
    run, columns = PARTS[name]
    start = measure.begin(0 if smoke else 1)
    rows = run(smoke)
    measure.show(f"{name}: {time.perf_counter() - start.clock:.0f} s", rows, columns)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
