"""Losses of an encoder's outputs, and its outputs for a whole split."""

from collections.abc import Callable

import numpy as np
import torch

from beft.data.encoded import Encoded
from beft.engine.batches import by_tokens, collate
from beft.engine.memory import Passes
from beft.engine.precision import autocast
from beft.models.encoder import Encoder

TOKENS = 4096  # per forward pass: fills the matrix units, needs little memory


def losses_of(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of each example, (B,), or its squared error for regression."""
    if logits.shape[1] == 1:
        return (logits[:, 0].float() - labels) ** 2
    return torch.nn.functional.cross_entropy(logits.float(), labels, reduction="none")


@torch.inference_mode()
def predict(
    encoder: Encoder,
    data: Encoded,
    device: str,
    precision: str,
    passes: Passes | None = None,
    tick: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """Logits (n, labels) float32 in the order of `data`, from padded batches, dropout off.

    Args:
        passes: counts the batches that do not fit into memory.
        tick: called before each batch.
    """
    model, pad = encoder.model.eval(), encoder.tokenizer.pad_token_id
    logits = np.empty((len(data), encoder.labels), dtype=np.float32)

    def answered(rows: np.ndarray) -> np.ndarray:
        batch = collate(data, rows, pad, device)
        del batch["labels"]
        with autocast(device, precision):
            return model(**batch).logits.float().cpu().numpy()

    for rows in by_tokens(data, TOKENS):
        tick()
        for some, found in (passes or Passes()).attempt(rows, answered):
            logits[some] = found
    return logits
