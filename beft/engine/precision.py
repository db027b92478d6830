"""Precision, loss, and the outputs of a classifier or regressor on a whole split."""

import numpy as np
import torch

from beft.data.encoded import Encoded, by_tokens, collate
from beft.engine.memory import attempted

TOKENS = 4096  # per forward pass: fills the matrix units, needs little memory


def lowered(device: str, precision: str) -> bool:
    """Whether this precision means bfloat16 here: `auto` does where hardware is faster in it."""
    if precision != "auto":
        return precision == "bfloat16"
    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capable = torch.cpu.get_capabilities()
    if "Intel" in str(capable.get("cpu_name")):
        # Without its matrix unit a Xeon multiplies in bfloat16 at half the speed of float32.
        return bool(capable.get("amx_bf16"))
    return bool(capable.get("avx512_bf16") or capable.get("bf16"))


def autocast(device: str, precision: str):
    """bfloat16 autocast, or nothing."""
    enabled = lowered(device, precision)
    return torch.autocast(device.partition(":")[0], torch.bfloat16, enabled=enabled)


def losses_of(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of each example, (B,), or its squared error for regression."""
    if logits.shape[1] == 1:
        return (logits[:, 0].float() - labels) ** 2
    return torch.nn.functional.cross_entropy(logits.float(), labels, reduction="none")


@torch.inference_mode()
def predict(
    model, data: Encoded, pad: int, device: str, precision: str, tick=lambda: None
) -> np.ndarray:
    """Outputs of the head for every example.

    Args:
        tick: called before each batch.

    Returns:
        (n, labels) float32 logits in the order of `data`; dropout is off.
    """
    model.eval()
    logits = np.empty((len(data), model.config.num_labels), dtype=np.float32)

    def answered(rows: np.ndarray) -> np.ndarray:
        batch = collate(data, rows, pad, device)
        del batch["labels"]
        with autocast(device, precision):
            return model(**batch).logits.float().cpu().numpy()

    for rows in by_tokens(data, TOKENS):
        tick()
        for some, found in attempted(rows, answered):
            logits[some] = found
    return logits
