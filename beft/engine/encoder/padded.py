"""One run of an encoder on padded batches, with the model's own forward pass."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch

from beft.data.encoded import Encoded
from beft.engine.batches import by_tokens, collate
from beft.engine.encoder.fitted import fit_heads
from beft.engine.encoder.pairs import pair_losses
from beft.engine.memory import Passes
from beft.engine.precision import autocast
from beft.engine.single import Single
from beft.models.encoder import Encoder
from beft.models.pooling import mean_states
from beft.study.recipe import compares_pairs

TOKENS = 4096  # per forward pass: fills the matrix units, needs little memory

Inputs = dict[str, torch.Tensor]  # of the model: a padded batch, without labels


class Padded(Single[Encoder, Encoded]):
    """The engine of one run of an encoder, any technique and any architecture; see `Single`."""

    def _backward(self, rows: np.ndarray, seed: int) -> float:
        """See `Single._backward`."""
        model = self.model.model.train()
        batch = collate(self.train[0], rows, self.model.tokenizer.pad_token_id, self.device)
        labels, weights = batch.pop("labels"), self.train[0].weights
        if weights is not None:
            weights = weights[torch.as_tensor(rows)].to(self.device)
        torch.manual_seed(seed)
        with autocast(self.device, self.settings["precision"]):
            if compares_pairs(self.settings):
                losses = pair_losses(_means(self.model, batch), labels)
            else:
                losses = losses_of(model(**batch).logits, labels, weights)
            loss = losses.mean()
        loss.backward()
        return loss.item()

    def predict(self, data: Encoded, runs: Sequence[int]) -> list[np.ndarray]:
        """See `Engine.predict`."""
        given = (self.device, self.settings["precision"], self.passes)
        return [predict(self.model, data, *given) for _ in runs]

    def fit_heads(self, runs: Sequence[int]) -> None:
        """See `Engine.fit_heads`."""
        fit_heads(self, runs, self._embeddings)

    def _embeddings(self, data: Encoded, run: int, width: int) -> np.ndarray:
        given = (self.device, self.settings["precision"], self.passes)
        return _evaluated(self.model, data, width, partial(_means, self.model), *given)


def losses_of(
    logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """Cross-entropy of each example, (B,), or its squared error for regression.

    Args:
        weights: factors of the losses, (B,).
    """
    if logits.shape[1] == 1:
        losses = (logits[:, 0].float() - labels) ** 2
    else:
        losses = torch.nn.functional.cross_entropy(logits.float(), labels, reduction="none")
    return losses if weights is None else losses * weights


def predict(
    encoder: Encoder, data: Encoded, device: str, precision: str, passes: Passes | None = None
) -> np.ndarray:
    """Logits (n, labels) float32 in the order of `data`, from padded batches, dropout off.

    Args:
        passes: counts the batches that do not fit into memory.
    """

    def logits(batch: Inputs) -> torch.Tensor:
        return encoder.model(**batch).logits

    return _evaluated(encoder, data, encoder.labels, logits, device, precision, passes)


def _means(encoder: Encoder, batch: Inputs) -> torch.Tensor:
    """The mean of the last hidden states of each example of a padded batch, (B, H)."""
    hidden = encoder.model.base_model(**batch).last_hidden_state
    return mean_states(hidden, batch["attention_mask"])


@torch.inference_mode()
def _evaluated(
    encoder: Encoder,
    data: Encoded,
    width: int,
    compute: Callable[[Inputs], torch.Tensor],
    device: str,
    precision: str,
    passes: Passes | None,
) -> np.ndarray:
    """What is computed of padded batches, dropout off: (n, width) float32, in order of `data`."""
    pad, out = encoder.tokenizer.pad_token_id, np.empty((len(data), width), dtype=np.float32)
    encoder.model.eval()

    def computed(rows: np.ndarray) -> np.ndarray:
        batch = collate(data, rows, pad, device)
        del batch["labels"]
        with autocast(device, precision):
            return compute(batch).float().cpu().numpy()

    for rows in by_tokens(data, TOKENS):
        for some, found in (passes or Passes()).attempt(rows, computed):
            out[some] = found
    return out
