"""One run of an encoder on padded batches, with the model's own forward pass."""

from collections.abc import Sequence

import numpy as np
import torch

from beft.data.encoded import Encoded
from beft.engine.batches import by_tokens, collate
from beft.engine.memory import Passes
from beft.engine.precision import autocast
from beft.engine.single import Single
from beft.models.encoder import Encoder

TOKENS = 4096  # per forward pass: fills the matrix units, needs little memory


class Padded(Single[Encoder, Encoded]):
    """The engine of one run of an encoder, any technique and any architecture; see `Single`."""

    def _backward(self, rows: np.ndarray, seed: int) -> float:
        """See `Single._backward`."""
        model = self.model.model.train()
        batch = collate(self.train[0], rows, self.model.tokenizer.pad_token_id, self.device)
        labels = batch.pop("labels")
        torch.manual_seed(seed)
        with autocast(self.device, self.settings["precision"]):
            loss = losses_of(model(**batch).logits, labels).mean()
        loss.backward()
        return loss.item()

    def predict(self, data: Encoded, runs: Sequence[int]) -> list[np.ndarray]:
        """See `Engine.predict`."""
        given = (self.device, self.settings["precision"], self.passes)
        return [predict(self.model, data, *given) for _ in runs]


def losses_of(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of each example, (B,), or its squared error for regression."""
    if logits.shape[1] == 1:
        return (logits[:, 0].float() - labels) ** 2
    return torch.nn.functional.cross_entropy(logits.float(), labels, reduction="none")


@torch.inference_mode()
def predict(
    encoder: Encoder, data: Encoded, device: str, precision: str, passes: Passes | None = None
) -> np.ndarray:
    """Logits (n, labels) float32 in the order of `data`, from padded batches, dropout off.

    Args:
        passes: counts the batches that do not fit into memory.
    """
    model, pad = encoder.model.eval(), encoder.tokenizer.pad_token_id
    logits = np.empty((len(data), encoder.labels), dtype=np.float32)

    def answered(rows: np.ndarray) -> np.ndarray:
        batch = collate(data, rows, pad, device)
        del batch["labels"]
        with autocast(device, precision):
            return model(**batch).logits.float().cpu().numpy()

    for rows in by_tokens(data, TOKENS):
        for some, found in (passes or Passes()).attempt(rows, answered):
            logits[some] = found
    return logits
