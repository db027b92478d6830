"""The trained values of many runs on one frozen model: each trained bias has one slot per run."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from beft.engine.adamw import adamw
from beft.engine.memory import fitting_tokens, smaller, step_tokens
from beft.engine.shares import Share, take
from beft.engine.single import parts_of, shapes_of
from beft.models.encoder import init_head
from beft.models.sites import Site, read_biases
from beft.study.recipe import Recipe
from beft.techniques.base import Part, site_parts

MOMENTS = ("theta", "mean", "square", "steps")


@dataclass(frozen=True)
class Leaf:
    """One bias's or one parameter's slots.

    Attributes:
        parameter: its name in the model.
        site: where the bias lives; None for a parameter of the head.
        runs: the runs that train it.
        index: the same as a tensor, on the device.
        values: (len(runs), *shape), float32; shares memory with `Slots.theta`.
        pretrained: (*shape), for the runs that do not.
    """

    parameter: str
    site: Site | None
    runs: tuple[int, ...]
    index: torch.Tensor
    values: torch.Tensor
    pretrained: torch.Tensor


class Slots:
    """The trained values of R runs, and their updates; a subclass computes losses and answers.

    Attributes:
        theta: (P,) float32, the trained scalars of all runs.
        owner: (P,) the run of each.
    """

    def __init__(self, encoder: Any, recipes: Sequence[Recipe], train: Sequence[Any], device: str):
        """Slots for these runs, all with the settings of the first but for rate and seed.

        Args:
            encoder: an `Encoder`, or a `Decoder`, which has no head.
        """
        settings = recipes[0].training
        self.encoder, self.recipes, self.train, self.device = encoder, recipes, train, device
        self.precision = settings["precision"]
        self.tokens, self.measured = step_tokens(device), False
        self.tick: Callable[[], None] = lambda: None
        for parameter in encoder.model.parameters():
            parameter.requires_grad_(False)
        self.model = encoder.model
        self.pretrained = read_biases(self.model, encoder.sites)
        self._lay_out(self._wanted())
        rates = [r.training["learning_rate"] for r in recipes]
        decay, norm = settings["weight_decay"], settings["max_grad_norm"]
        self.optimizer = adamw(self.theta, self.owner, rates, decay, norm)

    def _wanted(self) -> dict[Site | str, list[int]]:
        """What is trained, and by which runs: biases by term, then the head, which all train."""
        wanted: dict[Site | str, list[int]] = {}
        for run, recipe in enumerate(self.recipes):
            for term in trained_terms(self.encoder, recipe):
                for site in self.encoder.sites.of(term):
                    wanted.setdefault(site, []).append(run)
        return wanted | {name: list(range(len(self.recipes))) for name in self.encoder.head}

    def _pretrained(self, what: Site | str) -> torch.Tensor:
        """The value that a run starts from, unless its head is drawn."""
        if isinstance(what, str):
            return self.model.get_parameter(what).detach()
        value = self.model.get_parameter(what.parameter).detach()
        return value if what.rows is None else value[torch.as_tensor(what.rows.index())]

    def _lay_out(self, wanted: dict[Site | str, list[int]]) -> None:
        """Puts the initial values of all slots one after the other into `theta`."""
        fresh = [self._initial_head(recipe.seed) for recipe in self.recipes]
        given = {what: self._pretrained(what) for what in wanted}
        start, owners = [], []
        for what, runs in wanted.items():
            start += [fresh[run].get(what, given[what]) for run in runs]
            owners += [torch.full((given[what].numel(),), run) for run in runs]
        self.theta = torch.cat([s.reshape(-1).float() for s in start])
        self.owner = torch.cat(owners).to(self.device)
        self.leaves: list[Leaf] = []
        place = 0
        for what, runs in wanted.items():
            pre = given[what]
            size = len(runs) * pre.numel()
            values = self.theta[place : place + size].view(len(runs), *pre.shape)
            values = values.detach().requires_grad_()
            index = torch.tensor(runs, device=self.device)
            name, site = (what, None) if isinstance(what, str) else (what.parameter, what)
            self.leaves.append(Leaf(name, site, tuple(runs), index, values, pre))
            place += size

    def _initial_head(self, seed: int) -> dict[str, torch.Tensor]:
        if self.encoder.fresh:
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
                self._shrink(chunk, error)
                continue
            for share, loss in zip(chunk, own, strict=True):
                losses[share.run] += loss
            gradient += grads
            todo = rest
        bad = self.optimizer.update(gradient, self._norms(gradient), losses)
        return {r: None if r in bad else losses[r] for r in batches}

    def _shrink(self, chunk: list[Share], error: Exception) -> None:
        """After a pass that did not fit: smaller ones."""
        self.tokens = smaller(self.tokens, error)

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

    def _chunk_gradient(self, chunk: list[Share], each: torch.Tensor):
        """What `_gradient` returns, from the loss of each example of the shares, in order."""
        counts = [len(share.rows) for share in chunk]
        weights = np.repeat([s.weight / len(s.rows) for s in chunk], counts)
        each = each * torch.as_tensor(weights, dtype=torch.float32, device=self.device)
        values = [leaf.values for leaf in self.leaves]
        grads = torch.autograd.grad(each.sum(), values, allow_unused=True)
        flat_grads = [
            torch.zeros_like(v).view(-1) if g is None else g.reshape(-1)
            for g, v in zip(grads, values, strict=True)
        ]
        losses = [float(own.sum()) for own in each.detach().cpu().split(counts)]
        return losses, torch.cat(flat_grads)

    def _gradient(self, chunk: list[Share], seeds: dict[int, int]):
        """The weighted mean loss of each share, and the gradient of their sum, (P,)."""
        return self._chunk_gradient(chunk, self._losses(chunk, seeds))

    def _losses(self, chunk: list[Share], seeds: dict[int, int]) -> torch.Tensor:
        """The loss of each example of these shares, in order; differentiable."""
        raise NotImplementedError

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
        return [leaf for leaf in self.leaves if leaf.site is None]

    def snapshot(self, run: int) -> dict[str, torch.Tensor]:
        """All biases of a run: term -> (layers, width) float32 on the CPU."""
        biases = {term: values.clone() for term, values in self.pretrained.items()}
        leaves = {leaf.site: leaf for leaf in self.leaves if leaf.site is not None}
        for term in trained_terms(self.encoder, self.recipes[run]):
            for site in self.encoder.sites.of(term):
                leaf = leaves[site]
                biases[term][site.layer] = leaf.values[leaf.runs.index(run)].detach().cpu()
        return biases

    def head(self, run: int) -> dict[str, torch.Tensor]:
        """A run's head: parameter name -> value, on the CPU."""
        return {
            leaf.parameter: leaf.values[run].detach().cpu().clone() for leaf in self._head_leaves()
        }


def trained_terms(encoder: Any, recipe: Recipe) -> tuple[str, ...]:
    """The bias terms that a bias-only technique trains: whole ones, or it is not bias-only."""
    chosen = {_key(part) for part in parts_of(encoder, recipe)}
    sites, shapes = encoder.sites, shapes_of(encoder)
    own = {t: {_key(p) for p in site_parts(sites, shapes, (t,))} for t in sites.terms}
    terms = tuple(t for t in sites.terms if own[t] <= chosen)
    if chosen != {key for t in terms for key in own[t]}:
        raise ValueError(f"{recipe.technique} trains more or less than whole bias terms")
    return terms


def _key(part: Part) -> tuple[str, bytes]:
    return part.parameter, b"" if part.index is None else part.index.tobytes()
