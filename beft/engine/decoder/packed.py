"""Many bias-only runs of a decoder, whose examples share the rows of a pass."""

from collections.abc import Sequence
from contextlib import AbstractContextManager

import numpy as np
import torch

from beft.data.prompts import Prompts
from beft.engine.decoder.answer import answers
from beft.engine.decoder.likelihood import adding
from beft.engine.decoder.losses import save_memory, share_losses
from beft.engine.shares import Share
from beft.engine.slots import Slots
from beft.models.decoder import Decoder
from beft.models.sites import Site


class Prompted(Slots[Decoder, Prompts]):
    """Slots of a decoder; see `Slots`."""

    def _changes(self, runs: Sequence[int]) -> dict[Site, torch.Tensor]:
        """What each of these runs adds to the pretrained biases: site -> (runs, width)."""
        return {
            leaf.site: self.value(leaf, runs) - leaf.pretrained.float()
            for leaf in self.leaves
            if leaf.site is not None
        }

    def _losses(
        self, chunk: list[Share[Prompts]], seeds: dict[int, int]
    ) -> AbstractContextManager[torch.Tensor]:
        """See `Slots._losses`."""
        runs = [share.run for share in chunk]
        given, changes = [seeds[run] for run in runs], self._changes(runs)
        return share_losses(self.model, chunk, given, self.settings, self.device, changes)

    def _shrink(self, chunk: list[Share[Prompts]], error: Exception) -> None:
        """Makes passes smaller; saves memory where a pass of one example does not fit."""
        if len(chunk) == 1 and len(chunk[0].rows) == 1:
            save_memory(self.model.model, self.passes, error)
        else:
            super()._shrink(chunk, error)

    def close(self) -> None:
        """Turns gradient checkpointing off."""
        self.model.model.activation_checkpointing_disable()

    def predict(self, data: Prompts, runs: Sequence[int]) -> list[np.ndarray]:
        """See `Engine.predict`."""
        found = []
        for run in runs:
            with torch.inference_mode(), adding(self.model.model, self._changes([run]), None):
                found.append(answers(self.model, data, self.settings, self.device, self.passes))
        return found
