"""Many bias-only runs of an encoder: one row of all real tokens of all runs, and each token adds
the biases of its run. Nothing else of the model is held or computed more than once."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from beft.data.encoded import Encoded
from beft.engine.batches import by_tokens
from beft.engine.encoder.evaluate import evaluate
from beft.engine.encoder.fitted import fit_heads
from beft.engine.encoder.flat import Flat, first_position, flatten
from beft.engine.encoder.forward import Key
from beft.engine.encoder.frozen import frozen_linears
from beft.engine.encoder.padded import losses_of
from beft.engine.encoder.pairs import pair_losses
from beft.engine.encoder.rowwise import computing, dropping, heads, pooled_states
from beft.engine.encoder.table import table_of
from beft.engine.encoder.written import written_states
from beft.engine.precision import autocast, lowered
from beft.engine.shares import Share
from beft.engine.slots import Slots
from beft.models.encoder import Encoder
from beft.study.recipe import Recipe

KEPT_TOKENS = 2**17  # of splits whose rows are kept for later evaluations


@dataclass
class _Pass:
    """One pass over a part of a split."""

    places: np.ndarray  # of its examples
    row: Flat | None = None  # of these, once it is made


@dataclass(frozen=True)
class _Split:
    """A split as it is evaluated."""

    data: Encoded
    size: int  # tokens of a pass
    passes: list[_Pass]

    def tokens(self) -> int:
        """Of all its examples."""
        return sum(self.data.length(row) for row in range(len(self.data)))


class Flattened(Slots[Encoder, Encoded]):
    """Slots of an encoder, computed without padding."""

    def __init__(
        self, model: Encoder, recipes: Sequence[Recipe], train: Sequence[Encoded], device: str
    ):
        """See `Slots`."""
        super().__init__(model, recipes, train, device)
        self.splits: list[_Split] = []
        self.offset = first_position(model.model.base_model)
        dtype = torch.bfloat16 if lowered(device, self.settings["precision"]) else torch.float32
        self.table = table_of(model, dtype)
        self.linears = {} if self.table else frozen_linears(model, dtype)

    @contextmanager
    def _states(self, flat: Flat, runs: Sequence[int]) -> Iterator[torch.Tensor]:
        """What the heads read of all sequences, (S, H), run after run; within, they can read it."""
        _, own = self._values(runs)
        if self.table is not None:
            if torch.is_grad_enabled():
                states = written_states(self.table, flat, own)
            else:  # of one run
                states = evaluate(self.table, flat, {key: value[0] for key, value in own.items()})
            with dropping(self.model, flat.noise):
                yield states
            return
        names = {(site.layer, site.term): site.parameter for site in self.model.sites.sites}
        biases = {names[key]: value for key, value in own.items()}
        with computing(self.model, flat, self.linears, biases):
            yield pooled_states(self.model, flat)

    def _values(
        self, runs: Sequence[int]
    ) -> tuple[dict[str, torch.Tensor], dict[Key, torch.Tensor]]:
        """The head, by parameter, and the trained biases of these runs, (runs, *shape)."""
        values = {leaf: self.value(leaf, runs) for leaf in self.leaves}
        head = {leaf.parameter: v for leaf, v in values.items() if leaf.site is None}
        own = {(x.site.layer, x.site.term): v for x, v in values.items() if x.site is not None}
        return head, own

    @contextmanager
    def _losses(self, chunk: list[Share[Encoded]], seeds: dict[int, int]) -> Iterator[torch.Tensor]:
        """See `Slots._losses`."""
        runs = [share.run for share in chunk]
        flat = flatten(chunk, self.offset, self.device, [seeds[run] for run in runs])
        places = [(share.data, torch.as_tensor(share.rows)) for share in chunk]
        labels = torch.cat([data.labels[rows] for data, rows in places]).to(self.device)
        found = [data.weights[rows] for data, rows in places if data.weights is not None]
        weights = torch.cat(found).to(self.device) if found else None
        with autocast(self.device, self.settings["precision"]), self._states(flat, runs) as states:
            if self.whole:
                of_runs = (x.split(flat.sequences) for x in (states, labels))
                losses = torch.cat([pair_losses(*run) for run in zip(*of_runs, strict=True)])
            else:
                logits = heads(self.model, flat, states, self._values(runs)[0])
                losses = losses_of(logits, labels, weights)
        yield losses

    def predict(self, data: Encoded, runs: Sequence[int]) -> list[np.ndarray]:
        """See `Engine.predict`."""
        return self._evaluated(data, runs, self._logits, self.model.labels)

    def fit_heads(self, runs: Sequence[int]) -> None:
        """See `Engine.fit_heads`."""
        fit_heads(self, runs, self._embeddings)

    def _embeddings(self, data: Encoded, run: int, width: int) -> np.ndarray:
        (found,) = self._evaluated(data, [run], self._embedded, width)
        return found

    def _evaluated(
        self,
        data: Encoded,
        runs: Sequence[int],
        compute: Callable[[Flat, int], torch.Tensor],
        width: int,
    ) -> list[np.ndarray]:
        """What is computed of a row by each of these runs, for every example, (n, width)."""
        out = [np.empty((len(data), width), np.float32) for _ in runs]
        with torch.inference_mode(), autocast(self.device, self.settings["precision"]):
            for part in self._split(data).passes:
                for run, found in zip(runs, out, strict=True):
                    work = partial(self._outputs, data, part, run, compute)
                    for some, values in self.passes.attempt(part.places, work):
                        found[some] = values
        return out

    def _split(self, data: Encoded) -> _Split:
        """The passes over a split, which are kept for later evaluations unless they are large."""
        size = 2 * self.passes.tokens
        for split in self.splits:
            if split.data is data and split.size == size:
                return split
        split = _Split(data, size, [_Pass(places) for places in by_tokens(data, size)])
        if sum(kept.tokens() for kept in [*self.splits, split]) <= KEPT_TOKENS:
            self.splits.append(split)
        return split

    def _row(self, data: Encoded, rows: np.ndarray) -> Flat:
        return flatten([Share(0, data, rows)], self.offset, self.device)

    def _outputs(
        self,
        data: Encoded,
        part: _Pass,
        run: int,
        compute: Callable[[Flat, int], torch.Tensor],
        places: np.ndarray,
    ) -> np.ndarray:
        """What a run computes of examples, all of a pass or some of it, (n, width)."""
        if places is not part.places:
            flat = self._row(data, places)
        else:
            flat = part.row = part.row or self._row(data, places)
        return compute(flat, run).cpu().numpy()

    def _embedded(self, flat: Flat, run: int) -> torch.Tensor:
        """What the head of a run reads of a row, (S, H) float32."""
        with self._states(flat, [run]) as states:
            return states.float()

    def _logits(self, flat: Flat, run: int) -> torch.Tensor:
        """What the head of a run says of a row, (S, labels)."""
        with self._states(flat, [run]) as states:
            return heads(self.model, flat, states, self._values([run])[0])
