"""Many bias-only runs on one frozen model: each trained bias has one slot per run, and each token
adds the bias of its run. Nothing else of the model is held or computed more than once."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch

from beft.adamw import adamw
from beft.batches import Encoded, by_tokens
from beft.evaluate import autocast, losses_of, lowered
from beft.flat import Flat, first_position, flatten
from beft.frozen import frozen_linears
from beft.memory import fitting_tokens, smaller, step_tokens
from beft.models import Encoder, init_head
from beft.padded import parts_of
from beft.recipe import Recipe
from beft.rowwise import computing, first_states, heads
from beft.shares import Share, take
from beft.sites import read_biases

MOMENTS = ("theta", "mean", "square", "steps")


@dataclass(frozen=True)
class Leaf:
    """One parameter's slots.

    Attributes:
        parameter: its name in the model.
        runs: the runs that train it.
        index: the same as a tensor, on the device.
        values: (len(runs), *shape), float32; shares memory with `Slots.theta`.
        pretrained: (*shape), for the runs that do not.
    """

    parameter: str
    runs: tuple[int, ...]
    index: torch.Tensor
    values: torch.Tensor
    pretrained: torch.Tensor


class Slots:
    """The trained values of R runs and the forward pass that uses them.

    Attributes:
        theta: (P,) float32, the trained scalars of all runs.
        owner: (P,) the run of each.
    """

    def __init__(
        self, encoder: Encoder, recipes: Sequence[Recipe], train: Sequence[Encoded], device: str
    ):
        """Slots for these runs, all with the settings of the first but for rate and seed."""
        settings = recipes[0].training
        self.encoder, self.recipes, self.train, self.device = encoder, recipes, train, device
        self.precision = settings["precision"]
        self.tokens, self.measured = step_tokens(device), False
        self.tick: Callable[[], None] = lambda: None
        for parameter in encoder.model.parameters():
            parameter.requires_grad_(False)
        self.model = encoder.model
        self.base = self.model.base_model
        self.offset = first_position(self.base)
        self.pretrained = read_biases(self.model, encoder.sites)
        dtype = torch.bfloat16 if lowered(device, self.precision) else torch.float32
        self.linears = frozen_linears(encoder, dtype)
        self._lay_out(self._wanted())
        rates = [r.training["learning_rate"] for r in recipes]
        decay, norm = settings["weight_decay"], settings["max_grad_norm"]
        self.optimizer = adamw(self.theta, self.owner, rates, decay, norm)

    def _wanted(self) -> dict[str, list[int]]:
        """Each trained parameter's runs: biases by term, then the head, which all train."""
        wanted: dict[str, list[int]] = {}
        for run, recipe in enumerate(self.recipes):
            for term in trained_terms(self.encoder, recipe):
                for site in self.encoder.sites.of(term):
                    wanted.setdefault(site.parameter, []).append(run)
        return wanted | {name: list(range(len(self.recipes))) for name in self.encoder.head}

    def _lay_out(self, wanted: dict[str, list[int]]) -> None:
        """Puts the initial values of all slots one after the other into `theta`."""
        named = dict(self.model.named_parameters())
        fresh = [self._initial_head(recipe.seed) for recipe in self.recipes]
        start, owners = [], []
        for name, runs in wanted.items():
            start += [fresh[r][name] if name in fresh[r] else named[name].detach() for r in runs]
            owners += [torch.full((named[name].numel(),), run) for run in runs]
        self.theta = torch.cat([s.reshape(-1).float() for s in start])
        self.owner = torch.cat(owners).to(self.device)
        self.leaves: list[Leaf] = []
        place = 0
        for name, runs in wanted.items():
            pre = named[name].detach()
            size = len(runs) * pre.numel()
            values = self.theta[place : place + size].view(len(runs), *pre.shape)
            values = values.detach().requires_grad_()
            index = torch.tensor(runs, device=self.device)
            self.leaves.append(Leaf(name, tuple(runs), index, values, pre))
            place += size

    def _initial_head(self, seed: int) -> dict[str, torch.Tensor]:
        init_head(self.encoder, seed)
        named = dict(self.model.named_parameters())
        return {n: named[n].detach().clone() for n in self.encoder.head}

    def value(self, leaf: Leaf, runs: Sequence[int]) -> torch.Tensor:
        """The parameter of these runs, (len(runs), *shape), differentiable."""
        if leaf.runs == tuple(runs):
            return leaf.values
        place = leaf.runs.index(runs[0]) if runs[0] in leaf.runs else len(leaf.runs)
        if leaf.runs[place : place + len(runs)] == tuple(runs):
            return leaf.values[place : place + len(runs)]
        table = torch.cat([leaf.values, leaf.pretrained[None].float()])
        rows = [leaf.runs.index(r) if r in leaf.runs else len(leaf.runs) for r in runs]
        return table[torch.tensor(rows, device=table.device)]

    def logits(self, flat: Flat, runs: Sequence[int]) -> torch.Tensor:
        """The head's outputs of all sequences, (S, labels), run after run."""
        values = {leaf.parameter: self.value(leaf, runs) for leaf in self.leaves}
        own = {n: v for n, v in values.items() if n in self.encoder.head}
        biases = {n: v for n, v in values.items() if n not in own}
        with computing(self.encoder, flat, self.linears, biases):
            return heads(self.encoder, flat, first_states(self.encoder, flat), own)

    def step(self, batches: dict[int, np.ndarray], seeds: dict[int, int]) -> dict:
        """One update of each run on its own batch; see `engine.Engine.step`."""
        losses = dict.fromkeys(batches, 0.0)
        gradient = torch.zeros_like(self.theta)
        todo = [Share(run, self.train[run], rows) for run, rows in batches.items()]
        if not self.measured:
            self._fit(todo, seeds)
        while todo:
            chunk, rest = take(todo, self.tokens)
            try:
                own, grads = self._gradient(chunk, seeds)
            except torch.OutOfMemoryError as error:
                self.tokens = smaller(self.tokens, error)
                continue
            for share, loss in zip(chunk, own, strict=True):
                losses[share.run] += loss
            gradient += grads
            todo = rest
        bad = self.optimizer.update(gradient, self._norms(gradient), losses)
        return {r: None if r in bad else losses[r] for r in batches}

    def _fit(self, todo: list[Share], seeds: dict[int, int]) -> None:
        """Measures on one run's batch what a token takes, before passes become larger."""
        first, _ = take(todo[:1], self.tokens)
        size = sum(int(share.lengths().sum()) for share in first)
        with suppress(torch.OutOfMemoryError):  # met again, and dealt with, in the step itself
            self.tokens = fitting_tokens(
                self.device, self.tokens, size, lambda: self._gradient(first, seeds)
            )
        self.measured = True

    def _norms(self, gradient: torch.Tensor) -> torch.Tensor:
        """The norm of each run's gradient, (R,); summed in double and always in the same order."""
        squares = torch.zeros(len(self.recipes), dtype=torch.float64, device=gradient.device)
        place = 0
        for leaf in self.leaves:
            own = gradient[place : place + leaf.values.numel()].view(len(leaf.runs), -1)
            squares.index_add_(0, leaf.index, own.double().square().sum(1))
            place += leaf.values.numel()
        return squares.sqrt().float()

    def _gradient(self, chunk: list[Share], seeds: dict[int, int]):
        """The weighted mean loss of each share, and the gradient of their sum, (P,)."""
        runs = [share.run for share in chunk]
        flat = flatten(chunk, self.offset, self.device, [seeds[run] for run in runs])
        labels = torch.cat([share.labels() for share in chunk]).to(self.device)
        with autocast(self.device, self.precision):
            each = losses_of(self.logits(flat, runs), labels)
        weights = np.repeat([s.weight / len(s.rows) for s in chunk], flat.sequences)
        each = each * torch.as_tensor(weights, dtype=torch.float32, device=self.device)
        values = [leaf.values for leaf in self.leaves]
        grads = torch.autograd.grad(each.sum(), values, allow_unused=True)
        flat_grads = [
            torch.zeros_like(v).view(-1) if g is None else g.reshape(-1)
            for g, v in zip(grads, values, strict=True)
        ]
        losses = [float(own.sum()) for own in each.detach().cpu().split(flat.sequences)]
        return losses, torch.cat(flat_grads)

    def state(self) -> dict[str, torch.Tensor]:
        """Everything that a checkpoint of these runs needs besides their recipes."""
        own = {k: getattr(self.optimizer, k) for k in MOMENTS}
        own["tokens"] = torch.tensor(self.tokens)  # sums in the same order end in the same bytes
        return {k: v.detach().cpu().clone() for k, v in own.items()}

    def load(self, state: dict[str, torch.Tensor]) -> None:
        """Continues from what `state` gave."""
        for name in MOMENTS:
            getattr(self.optimizer, name).copy_(state[name])
        self.tokens = int(state["tokens"])

    def close(self) -> None:
        """Nothing to put back: of the model, only the drawn head was touched."""

    def _head_leaves(self) -> list[Leaf]:
        return [leaf for leaf in self.leaves if leaf.parameter in self.encoder.head]

    def predict(self, data: Encoded, runs: Sequence[int]) -> list[np.ndarray]:
        """Logits (n, labels) float32 of every example for each run, dropout off."""
        out = [np.empty((len(data), self.model.config.num_labels), np.float32) for _ in runs]
        with torch.inference_mode(), autocast(self.device, self.precision):
            for rows in by_tokens(data, 2 * self.tokens // len(runs)):
                self.tick()
                flat = flatten([Share(run, data, rows) for run in runs], self.offset, self.device)
                logits = self.logits(flat, runs).cpu().numpy()
                for own, part in zip(out, np.split(logits, len(runs)), strict=True):
                    own[rows] = part
        return out

    def snapshot(self, run: int) -> dict[str, torch.Tensor]:
        """All biases of a run: term -> (layers, width) float32 on the CPU."""
        biases = {term: values.clone() for term, values in self.pretrained.items()}
        leaves = {leaf.parameter: leaf for leaf in self.leaves}
        for term in trained_terms(self.encoder, self.recipes[run]):
            for site in self.encoder.sites.of(term):
                leaf = leaves[site.parameter]
                biases[term][site.layer] = leaf.values[leaf.runs.index(run)].detach().cpu()
        return biases

    def head(self, run: int) -> dict[str, torch.Tensor]:
        """A run's head: parameter name -> value, on the CPU."""
        return {
            leaf.parameter: leaf.values[run].detach().cpu().clone() for leaf in self._head_leaves()
        }


def trained_terms(encoder: Encoder, recipe: Recipe) -> tuple[str, ...]:
    """The bias terms that a bias-only technique trains: whole ones, or it is not bias-only."""
    chosen = {part.parameter for part in parts_of(encoder, recipe)}
    sites = {t: {s.parameter for s in encoder.sites.of(t)} for t in encoder.sites.terms}
    terms = tuple(t for t in encoder.sites.terms if sites[t] <= chosen)
    if chosen != {name for t in terms for name in sites[t]}:
        raise ValueError(f"{recipe.technique} trains more or less than whole bias terms")
    return terms
