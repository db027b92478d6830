"""Evaluation of a classifier or regressor on a whole split."""

import numpy as np
import torch

from beft.batches import Encoded, by_length, collate
from beft.metrics import score


@torch.inference_mode()
def predict(model, data: Encoded, batch_size: int, pad: int, device: str, precision: str):
    """Outputs of the head for every example.

    Returns:
        (n, labels) float32 logits in the order of `data`; dropout is off.
    """
    model.eval()
    logits = np.empty((len(data), model.config.num_labels), dtype=np.float32)
    for rows in by_length(data, batch_size):
        batch = collate(data, rows, pad, device)
        del batch["labels"]
        with torch.autocast(device.split(":")[0], torch.bfloat16, enabled=precision == "bfloat16"):
            out = model(**batch).logits
        logits[rows] = out.float().cpu().numpy()
    return logits


def decide(logits: np.ndarray) -> np.ndarray:
    """Predictions from logits: the best class (n,) int64, or the value itself (n,) float32."""
    return logits[:, 0] if logits.shape[1] == 1 else logits.argmax(axis=1)


def evaluate(predictions: np.ndarray, data: Encoded, metric: str) -> float:
    """The task's metric as a fraction; predictions that are not finite score NaN."""
    if not np.isfinite(predictions).all():
        return float("nan")
    return score(metric, predictions, data.labels.numpy())
