"""The project's own side of each comparison.

As a program it trains a pack from nothing:
`python -m benchmarks.ours '{"terms": ["v"], "seeds": [0], "precision": "float32", "threads": 1}'`.
"""

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from beft.data.encoded import Encoded
from beft.engine.dispatch import engine
from beft.models.encoder import Encoder
from beft.study.recipe import Recipe
from beft.training.loop import train as run_to_end
from beft.training.state import Control, Data
from benchmarks.material import Material, material, recipe


def train(
    encoder: Encoder,
    recipes: Sequence[Recipe],
    train: Encoded | Sequence[Encoded],
    validation: Encoded,
    device: str = "cpu",
) -> tuple[float, list[float]]:
    """(seconds of training with evaluations and checkpoints, each run's last accuracy).

    Args:
        train: training examples of all runs, or of each.
    """
    subsets = [train] * len(recipes) if isinstance(train, Encoded) else train
    data = [Data(subset, {"validation": validation}) for subset in subsets]
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        used = engine(encoder, recipes, subsets, device, flat=True)
        try:
            states = run_to_end(used, data, Control(Path(folder) / "checkpoint"))
            if device != "cpu":
                torch.cuda.synchronize()
        finally:
            used.close()
        seconds = time.perf_counter() - start
    return seconds, [s.history[-1]["validation/accuracy"] for s in states]


def answer(source: Material, wish: dict) -> dict:
    """Trains one pack of the wished terms and seeds: accuracies, of all and by term."""
    encoder = source.encoder()
    pairs = [(term, seed) for term in wish["terms"] for seed in wish["seeds"]]
    pack = [recipe(source, f"b_{term}", seed, wish["precision"]) for term, seed in pairs]
    _, accuracies = train(encoder, pack, *source.encoded(encoder.tokenizer))
    by_term: dict[str, list[float]] = {}
    for (term, _), accuracy in zip(pairs, accuracies, strict=True):
        by_term.setdefault(term, []).append(accuracy)
    return {"accuracies": accuracies, "by_term": by_term}


if __name__ == "__main__":
    wish = json.loads(sys.argv[1])
    torch.set_num_threads(wish["threads"])
    print(json.dumps(answer(material(), wish)))
