"""One run of a decoder that changes weights, adds some, or trains nothing."""

from collections.abc import Sequence

import numpy as np
import torch

from beft.data.prompts import Prompts
from beft.engine.decoder.answer import answers
from beft.engine.decoder.likelihood import Cache
from beft.engine.decoder.losses import save_memory, share_losses
from beft.engine.memory import step_tokens
from beft.engine.shares import Share, take
from beft.engine.single import Single
from beft.models.decoder import Decoder
from beft.study.recipe import Recipe


class SinglePrompted(Single[Decoder, Prompts]):
    """The engine of one run of a decoder, any technique; see `Single`."""

    def __init__(
        self, model: Decoder, recipes: Sequence[Recipe], train: Sequence[Prompts], device: str
    ):
        """See `Single`."""
        super().__init__(model, recipes, train, device)
        if self.tuned:
            self.passes.tokens = step_tokens(device)

    @property
    def cache(self) -> Cache | None:
        """The trained prefix of the run, where it has one."""
        return self.adapter.cache if self.adapter else None

    def _backward(self, rows: np.ndarray, seed: int) -> float:
        """See `Single._backward`."""
        todo, loss = [Share(0, self.train[0], rows)], 0.0
        parameters = [tuned.parameter for tuned in self.tuned]
        while todo:
            chunk, rest = take(todo, self.passes.tokens)
            try:
                with share_losses(
                    self.model, chunk, [seed], self.settings, self.device, cache=self.cache
                ) as each:
                    part = each.mean() * chunk[0].weight
                    # Kept only when whole: a pass that is refused must change no gradient.
                    grads = torch.autograd.grad(part, parameters, allow_unused=True)
            except torch.OutOfMemoryError as error:
                self._shrink(chunk[0], error)
                continue
            for parameter, grad in zip(parameters, grads, strict=True):
                added = torch.zeros_like(parameter) if grad is None else grad
                parameter.grad = added if parameter.grad is None else parameter.grad + added
            loss += part.item()
            todo = rest
        return loss

    def _shrink(self, share: Share[Prompts], error: Exception) -> None:
        """Makes passes smaller; saves memory where a pass of one example does not fit."""
        if len(share.rows) == 1:
            save_memory(self.model.model, self.passes, error, prefix=self.cache is not None)
        else:
            self.passes.tokens = self.passes.half(self.passes.tokens, error)

    def state(self) -> dict[str, torch.Tensor]:
        """Trained values, moments, and the size of passes: the same sums, the same bytes."""
        return super().state() | {"tokens": torch.tensor(self.passes.tokens)}

    def load(self, state: dict[str, torch.Tensor]) -> None:
        """See `Engine.load`."""
        super().load(state)
        self.passes.tokens = int(state["tokens"])

    def close(self) -> None:
        """See `Engine.close`."""
        self.model.model.activation_checkpointing_disable()
        super().close()

    def predict(self, data: Prompts, runs: Sequence[int]) -> list[np.ndarray]:
        """See `Engine.predict`."""
        given = (self.settings, self.device, self.passes, self.cache)
        return [answers(self.model, data, *given) for _ in runs]
