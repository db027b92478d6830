"""Many bias-only runs of a decoder, whose examples share the rows of a pass."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

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

    @contextmanager
    def _losses(self, chunk: list[Share[Prompts]], seeds: dict[int, int]) -> Iterator[torch.Tensor]:
        """The loss of each example of these shares, (n,), in order; differentiated within."""
        runs = [share.run for share in chunk]
        given = [seeds[run] for run in runs]
        changes = self._changes(runs)
        with share_losses(self.model, chunk, given, self.settings, self.device, changes) as each:
            yield each

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
        """Scores (n, C) of candidates, or generated tokens (n, T), of each run."""
        found = []
        for run in runs:
            with torch.inference_mode():
                changes = {site: c.detach() for site, c in self._changes([run]).items()}
                with adding(self.model.model, changes, None):
                    found.append(
                        answers(
                            self.model, data, self.settings, self.device, self.passes, self.tick
                        )
                    )
        return found
