"""The project's own side of each comparison."""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from beft.batches import Encoded
from beft.engine import engine
from beft.models import Encoder
from beft.recipe import Recipe
from beft.train import Control, Data
from beft.train import train as run_to_end


def train(
    encoder: Encoder,
    recipes: Sequence[Recipe],
    train: Encoded,
    validation: Encoded,
    device: str = "cpu",
) -> tuple[float, list[float]]:
    """(seconds of training with evaluations and checkpoints, each run's last accuracy)."""
    data = Data(train, {"validation": validation})
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        used = engine(encoder, recipes, [train] * len(recipes), device, flat=True)
        try:
            states = run_to_end(used, [data] * len(recipes), Control(Path(folder) / "checkpoint"))
            if device != "cpu":
                torch.cuda.synchronize()
        finally:
            used.close()
        seconds = time.perf_counter() - start
    return seconds, [s.history[-1]["validation/accuracy"] for s in states]
