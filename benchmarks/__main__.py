"""`python -m benchmarks [PART ...] [--smoke]`: measures all parts, or some.

With `--smoke` a part only tries itself in seconds: its smallest form, tiny models, no network.
"""

import argparse
import logging
import os
import sys
import tempfile
from pathlib import Path

if __name__ == "__main__":  # before libraries read it
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    # Trainer takes every GPU that it sees, with a larger batch.
    os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]

from benchmarks import cluster, decoder, engine, figure, gpu, measure, memory, packs, pipeline

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
    "packs": (packs.run, ["case", "ours_seconds", "seconds_per_run", "peer_seconds", "ratio"]),
    "decoder": (decoder.run, PEERS),
    "pipeline": (pipeline.run, ["case", "ours_seconds", "limit_seconds", "note"]),
    "cluster": (cluster.run, ["case", "seconds", "count", "per_second", "memory_mb", "note"]),
    "gpu": (gpu.run, gpu.SHOWN),
    "memory": (memory.run, memory.COLUMNS),
}
DEFAULT = [name for name in PARTS if name != "memory"]  # it needs more memory than most have


def main(words: list[str]) -> int:
    """Measures what is named; prints a table each; draws the figure from what is on file."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--smoke", action="store_true", help="try it in seconds; write no results")
    wish = parser.parse_args(words)
    if unknown := set(wish.parts) - set(PARTS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; valid: {', '.join(PARTS)}")
    logging.getLogger("transformers").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        if wish.smoke:
            measure.RESULTS = Path(folder)
        for name in wish.parts or DEFAULT:
            run, columns = PARTS[name]
            measure.show(name, run(wish.smoke), columns)
        print(figure.draw())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
