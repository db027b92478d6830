"""One run of an encoder on padded batches, with the model's own forward pass."""

from collections.abc import Sequence

import numpy as np
import torch

from beft.data.encoded import Encoded
from beft.engine.batches import collate
from beft.engine.encoder.predict import losses_of, predict
from beft.engine.precision import autocast
from beft.engine.single import Single
from beft.models.encoder import Encoder


class Padded(Single[Encoder, Encoded]):
    """The engine of one run of an encoder, any technique and any architecture; see `Single`."""

    def _backward(self, rows: np.ndarray, seed: int) -> float:
        """The mean loss of a batch; leaves its gradients in the parameters."""
        model = self.model.model.train()
        batch = collate(self.train[0], rows, self.model.tokenizer.pad_token_id, self.device)
        labels = batch.pop("labels")
        torch.manual_seed(seed)
        with autocast(self.device, self.settings["precision"]):
            loss = losses_of(model(**batch).logits, labels).mean()
        loss.backward()
        return loss.item()

    def predict(self, data: Encoded, runs: Sequence[int]) -> list[np.ndarray]:
        """Logits of every example; see `Engine.predict`."""
        precision = self.settings["precision"]
        return [
            predict(self.model, data, self.device, precision, self.passes, self.tick) for _ in runs
        ]
