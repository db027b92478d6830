"""One run of a decoder that changes weights, adds some, or trains nothing."""

from collections.abc import Sequence

import numpy as np
import torch

from beft.data.prompts import Prompts
from beft.engine.decoder.answer import answers
from beft.engine.decoder.likelihood import Cache
from beft.engine.decoder.losses import save_memory, share_losses
from beft.engine.memory import step_tokens
from beft.engine.shares import Share, in_passes
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
        loss, parameters = 0.0, [tuned.parameter for tuned in self.tuned]
        given = (self.settings, self.device, None, self.cache)

        def work(chunk: list[Share[Prompts]]) -> tuple[float, tuple[torch.Tensor | None, ...]]:
            """The loss and gradients of a pass: one that does not fit must change no gradient."""
            with share_losses(self.model, chunk, [seed], *given) as each:
                part = each.mean() * chunk[0].weight
                grads = torch.autograd.grad(part, parameters, allow_unused=True)
            return part.item(), grads

        todo = [Share(0, self.train[0], rows)]
        for _, (part, grads) in in_passes(todo, self.passes, work, self._shrink):
            for parameter, grad in zip(parameters, grads, strict=True):
                added = torch.zeros_like(parameter) if grad is None else grad
                parameter.grad = added if parameter.grad is None else parameter.grad + added
            loss += part
        return loss

    def _shrink(self, chunk: list[Share[Prompts]], error: Exception) -> None:
        """Makes passes smaller; saves memory where a pass of one example does not fit."""
        if len(chunk[0].rows) == 1:
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
