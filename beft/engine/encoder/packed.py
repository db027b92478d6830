"""Many bias-only runs of an encoder: one row of all real tokens of all runs, and each token adds
the biases of its run. Nothing else of the model is held or computed more than once."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from beft.data.encoded import Encoded
from beft.engine.batches import by_tokens
from beft.engine.encoder.flat import Flat, first_position, flatten
from beft.engine.encoder.frozen import frozen_linears
from beft.engine.encoder.padded import losses_of
from beft.engine.encoder.rowwise import computing, dropping, first_states, heads
from beft.engine.encoder.table import table_of
from beft.engine.encoder.written import written_states
from beft.engine.precision import autocast, lowered
from beft.engine.shares import Share
from beft.engine.slots import Slots
from beft.models.encoder import Encoder
from beft.study.recipe import Recipe


class Flattened(Slots[Encoder, Encoded]):
    """Slots of an encoder, computed without padding."""

    def __init__(
        self, model: Encoder, recipes: Sequence[Recipe], train: Sequence[Encoded], device: str
    ):
        """See `Slots`."""
        super().__init__(model, recipes, train, device)
        self.offset = first_position(model.model.base_model)
        dtype = torch.bfloat16 if lowered(device, self.settings["precision"]) else torch.float32
        self.table = table_of(model, dtype)
        self.linears = {} if self.table else frozen_linears(model, dtype)

    def logits(self, flat: Flat, runs: Sequence[int]) -> torch.Tensor:
        """The head's outputs of all sequences, (S, labels), run after run."""
        values = {leaf: self.value(leaf, runs) for leaf in self.leaves}
        head = {leaf.parameter: v for leaf, v in values.items() if leaf.site is None}
        if self.table is not None:
            own = {(x.site.layer, x.site.term): v for x, v in values.items() if x.site is not None}
            states = written_states(self.table, flat, own)
            with dropping(self.model, flat.noise):
                return heads(self.model, flat, states, head)
        biases = {leaf.parameter: v for leaf, v in values.items() if leaf.site is not None}
        with computing(self.model, flat, self.linears, biases):
            return heads(self.model, flat, first_states(self.model, flat), head)

    @contextmanager
    def _losses(self, chunk: list[Share[Encoded]], seeds: dict[int, int]) -> Iterator[torch.Tensor]:
        """See `Slots._losses`."""
        runs = [share.run for share in chunk]
        flat = flatten(chunk, self.offset, self.device, [seeds[run] for run in runs])
        labels = torch.cat([share.data.labels[torch.as_tensor(share.rows)] for share in chunk])
        with autocast(self.device, self.settings["precision"]):
            losses = losses_of(self.logits(flat, runs), labels.to(self.device))
        yield losses

    def predict(self, data: Encoded, runs: Sequence[int]) -> list[np.ndarray]:
        """See `Engine.predict`."""
        out = [np.empty((len(data), self.model.labels), np.float32) for _ in runs]

        def answered(pairs: np.ndarray) -> np.ndarray:
            """Logits of pairs of a run and a row, run after run: (pairs, labels)."""
            shares = [
                Share(runs[i], data, rows[pairs[pairs // len(rows) == i] % len(rows)])
                for i in np.unique(pairs // len(rows))
            ]
            flat = flatten(shares, self.offset, self.device)
            return self.logits(flat, [share.run for share in shares]).cpu().numpy()

        with torch.inference_mode(), autocast(self.device, self.settings["precision"]):
            for rows in by_tokens(data, 2 * self.passes.tokens // len(runs)):
                every = np.arange(len(runs) * len(rows))
                for pairs, logits in self.passes.attempt(every, answered):
                    for i in np.unique(pairs // len(rows)):
                        of_run = pairs // len(rows) == i
                        out[i][rows[pairs[of_run] % len(rows)]] = logits[of_run]
        return out
