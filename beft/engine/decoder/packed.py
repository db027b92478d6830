"""The engines of decoders: packed bias runs, and single runs of every other technique."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np
import torch

from beft.data.prompts import Prompts
from beft.engine.decoder.answer import answers
from beft.engine.decoder.dropout import Dropping, row_keys
from beft.engine.decoder.likelihood import adding, candidate_scores, example_losses, lowering
from beft.engine.decoder.rows import Item, arrange, cells_of, items
from beft.engine.memory import REFUSALS, smaller, step_tokens
from beft.engine.shares import Share, take
from beft.engine.single import Padded
from beft.engine.slots import Slots
from beft.errors import UserError
from beft.models.decoder import Decoder
from beft.models.sites import Site

log = logging.getLogger(__name__)


def share_items(chunk: Sequence[Share], objective: str) -> list[Item]:
    """The examples of these shares, in order; the owner of each is its share's place."""
    gold = objective == "language_model_on_answer"
    return [item for i, s in enumerate(chunk) for item in items(s.data, s.rows, i, gold)]


@contextmanager
def share_losses(
    decoder: Decoder,
    chunk: Sequence[Share],
    seeds: Sequence[int],
    settings: dict,
    device: str,
    changes: dict[Site, torch.Tensor] | None = None,
    cache=None,
) -> Iterator[torch.Tensor]:
    """The loss of each example of these shares, (n,), in one pass; to be differentiated within.

    Args:
        seeds: of each share's dropout.
        settings: of the recipes (`params.Training`).
        changes: of biases, see `likelihood.adding`; one row per share.
        cache: a trained prefix.
    """
    model, objective = decoder.model, settings["objective"]
    examples = share_items(chunk, objective)
    rows = arrange(examples, device, model.dtype)
    gold = [s.data.gold(r) for s in chunk for r in s.rows]
    owner = rows.owner if len(chunk) > 1 else None
    with ExitStack() as stack:
        stack.enter_context(adding(model, changes or {}, owner))
        stack.callback(model.eval)
        with ExitStack() as forward:
            forward.enter_context(lowering(model, device, settings["precision"]))
            if model.is_activation_checkpointing:
                model.train()
            elif drops(model):
                model.train()
                forward.enter_context(Dropping(_keys(chunk, examples, seeds, device)))
            scores = candidate_scores(model, rows, cache)
        yield example_losses(scores, rows, gold, objective, settings.get("scoring", "normalised"))


def save_memory(model, error: Exception, prefix: bool = False) -> None:
    """Lets the model compute its layers twice instead of keeping what they computed.

    Raises:
        UserError: where the model drops, since what is computed twice would drop twice, or has a
            prefix, which is lost on the way.
        The error itself, where that has been done already.
    """
    if model.is_activation_checkpointing:
        raise error
    if drops(model) or prefix:
        advice = "use a smaller max_length" if prefix else "set 'dropout: 0.0'"
        raise UserError(
            "one example does not fit into memory, and gradient checkpointing is not possible with "
            f"{'a prefix' if prefix else 'dropout'}; {advice}"
        ) from error
    REFUSALS.count += 1
    log.warning("memory: one example does not fit; its layers are computed twice from now on")
    model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})


def _keys(chunk, examples, seeds, device) -> torch.Tensor:
    numbers = [share.start + i for share in chunk for i in range(len(share.rows))]
    own = [seed for share, seed in zip(chunk, seeds, strict=True) for _ in share.rows]
    keys = row_keys(own, numbers, *cells_of(examples))
    return torch.as_tensor(keys, device=device)


def drops(model) -> bool:
    """Whether the model has any dropout."""
    config = model.config.to_dict()
    keys = [k for k in config if "drop" in k and isinstance(config[k], int | float)]
    return any(config[k] > 0 for k in keys)


class Prompted(Slots):
    """Slots of a decoder: many bias runs, whose examples share rows; see `Slots`."""

    def _changes(self, runs: Sequence[int]) -> dict[Site, torch.Tensor]:
        """What each of these runs adds to the pretrained biases, (runs, width)."""
        return {leaf.site: self.value(leaf, runs) - leaf.pretrained.float() for leaf in self.leaves}

    def _gradient(self, chunk: list[Share], seeds: dict[int, int]):
        """The weighted mean loss of each share, and the gradient of their sum, (P,)."""
        runs = [share.run for share in chunk]
        training, own = self.recipes[0].training, [seeds[run] for run in runs]
        changes = self._changes(runs)
        with share_losses(self.encoder, chunk, own, training, self.device, changes) as each:
            return self._chunk_gradient(chunk, each)

    def _shrink(self, chunk: list[Share], error: Exception) -> None:
        """After a pass that did not fit: smaller ones, and then with less kept in memory."""
        if len(chunk) == 1 and len(chunk[0].rows) == 1:
            save_memory(self.model, error)
        else:
            super()._shrink(chunk, error)

    def close(self) -> None:
        """What saved memory is undone."""
        self.model.activation_checkpointing_disable()

    def predict(self, data: Prompts, runs: Sequence[int]) -> list[np.ndarray]:
        """Scores (n, C) of candidates, or generated tokens (n, T), of each run."""
        found = []
        for run in runs:
            with torch.inference_mode():
                changes = {site: c.detach() for site, c in self._changes([run]).items()}
                with adding(self.model, changes, None):
                    found.append(
                        answers(
                            self.encoder, data, self.recipes[0].training, self.device, self.tick
                        )
                    )
        return found


class Whole(Padded):
    """One run of a decoder that changes weights, adds some, or trains nothing."""

    tokens: int | None = None

    def _backward(self, rows: np.ndarray, seed: int) -> float:
        """The mean loss of a batch, its gradients left in the parameters."""
        if self.tokens is None:
            self.tokens = step_tokens(self.device)
        todo, loss = [Share(0, self.train, rows)], 0.0
        parameters = [tuned.parameter for tuned in self.tuned]
        while todo:
            chunk, rest = take(todo, self.tokens)
            cache = self.adapter.cache if self.adapter else None
            try:
                with share_losses(
                    self.encoder, chunk, [seed], self.settings, self.device, cache=cache
                ) as each:
                    part = each.mean() * chunk[0].weight
                    # Kept only when whole: a pass that is refused must leave nothing behind.
                    grads = torch.autograd.grad(part, parameters, allow_unused=True)
            except torch.OutOfMemoryError as error:
                if len(chunk[0].rows) == 1:
                    save_memory(self.encoder.model, error, prefix=cache is not None)
                else:
                    self.tokens = smaller(self.tokens, error)
                continue
            for parameter, grad in zip(parameters, grads, strict=True):
                own = torch.zeros_like(parameter) if grad is None else grad
                parameter.grad = own if parameter.grad is None else parameter.grad + own
            loss += part.item()
            todo = rest
        return loss

    def state(self) -> dict[str, torch.Tensor]:
        """Trained values, moments, and the size of passes: the same sums end in the same bytes."""
        tokens = self.tokens or step_tokens(self.device)
        return super().state() | {"tokens": torch.tensor(tokens)}

    def load(self, state: dict[str, torch.Tensor]) -> None:
        """Continues from what `state` gave."""
        super().load(state)
        self.tokens = int(state["tokens"])

    def close(self) -> None:
        """Puts the pretrained values back."""
        self.encoder.model.activation_checkpointing_disable()
        super().close()

    def predict(self, data: Prompts, runs: Sequence[int]) -> list[np.ndarray]:
        """Scores (n, C) of candidates, or generated tokens (n, T)."""
        cache = self.adapter.cache if self.adapter else None
        return [
            answers(self.encoder, data, self.settings, self.device, self.tick, cache) for _ in runs
        ]
