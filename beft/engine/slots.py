"""The trained values of many runs on one frozen model: each trained bias has one slot per run."""

from abc import abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from beft.engine.adamw import AdamW
from beft.engine.base import Data, Engine, Losses, Pretrained, Tensors
from beft.engine.memory import fitting_tokens, step_tokens
from beft.engine.parts import trained_terms
from beft.engine.shares import Share, in_passes, take
from beft.errors import UserError
from beft.models.encoder import init_head
from beft.models.sites import Site, read_biases
from beft.study.recipe import Recipe, compares_pairs

MOMENTS = ("theta", "mean", "square", "steps")


@dataclass(frozen=True, eq=False)
class Leaf:
    """The slots of one bias, or of one parameter of the head."""

    parameter: str  # its name in the model
    site: Site | None  # location of the bias; None for a parameter of the head
    runs: tuple[int, ...]  # the runs that train it
    index: torch.Tensor  # the same as a tensor, on the device
    values: torch.Tensor  # (len(runs), *shape), float32; shares memory with `Slots.theta`
    pretrained: torch.Tensor  # (*shape), the value in all other runs


class Slots(Engine[Pretrained, Data]):
    """The trained values of R runs, and their updates; a subclass computes losses and outputs.

    Attributes:
        theta: (P,) float32, the trained scalars of all runs.
        owner: (P,) the run of each scalar.
        measured: whether the memory of a pass has been measured.
        whole: whether a batch must not be split, as its loss is not a sum over examples.
        segments: the scalars of each bias of each run in `theta`; `segment_owner`: its run.
    """

    def __init__(
        self, model: Pretrained, recipes: Sequence[Recipe], train: Sequence[Data], device: str
    ):
        """See `Engine`."""
        super().__init__(model, recipes, train, device)
        self.passes.tokens, self.measured = step_tokens(device), False
        self.whole = compares_pairs(self.settings)
        for parameter in model.model.parameters():
            parameter.requires_grad_(False)
        self.pretrained = read_biases(model.model, model.sites)
        self._lay_out(self._wanted())
        rates = [r.training["learning_rate"] for r in recipes]
        decay, norm = self.settings["weight_decay"], self.settings["max_grad_norm"]
        self.optimizer = AdamW(self.theta, self.owner, rates, decay, norm)

    def _wanted(self) -> dict[Site | str, list[int]]:
        """Trained biases and parameters of the head -> the runs that train them."""
        wanted: dict[Site | str, list[int]] = {}
        for run, recipe in enumerate(self.recipes):
            for term in trained_terms(self.model, recipe):
                for site in self.model.sites.of(term):
                    wanted.setdefault(site, []).append(run)
        return wanted | {name: list(range(len(self.recipes))) for name in self.model.head}

    def _pretrained(self, what: Site | str) -> torch.Tensor:
        """The value that a run starts from, unless it is drawn by `init_head`."""
        if isinstance(what, str):
            return self.model.model.get_parameter(what).detach()
        return self.model.model.get_parameter(what.parameter).detach()[what.index]

    def _lay_out(self, wanted: dict[Site | str, list[int]]) -> None:
        """Concatenates the initial values of all slots in `theta`."""
        heads = [self._initial_head(recipe.seed) for recipe in self.recipes]
        given = {what: self._pretrained(what) for what in wanted}
        start, owners = [], []
        for what, runs in wanted.items():
            start += [heads[run][what] if isinstance(what, str) else given[what] for run in runs]
            owners += [torch.full((given[what].numel(),), run) for run in runs]
        self.theta = torch.cat([s.reshape(-1).float() for s in start])
        self.owner = torch.cat(owners).to(self.device)
        self.leaves: list[Leaf] = []
        sizes = [len(runs) * given[what].numel() for what, runs in wanted.items()]
        for (what, runs), part in zip(wanted.items(), self.theta.split(sizes), strict=True):
            values = part.view(len(runs), *given[what].shape).detach().requires_grad_()
            index = torch.tensor(runs, device=self.device)
            name, site = (what, None) if isinstance(what, str) else (what.parameter, what)
            self.leaves.append(Leaf(name, site, tuple(runs), index, values, given[what]))
        widths = [given[what].numel() for what, runs in wanted.items() for _ in runs]
        self.segments = torch.tensor(widths, device=self.device)
        self.segment_owner = torch.cat([leaf.index for leaf in self.leaves])

    def _initial_head(self, seed: int) -> dict[str, torch.Tensor]:
        init_head(self.model, seed)
        return {n: self._pretrained(n).clone() for n in self.model.head}

    def value(self, leaf: Leaf, runs: Sequence[int]) -> torch.Tensor:
        """The parameter of these runs, (len(runs), *shape), differentiable."""
        if leaf.runs == tuple(runs):
            return leaf.values
        start = leaf.runs.index(runs[0]) if runs[0] in leaf.runs else len(leaf.runs)
        if leaf.runs[start : start + len(runs)] == tuple(runs):
            return leaf.values[start : start + len(runs)]
        table = torch.cat([leaf.values, leaf.pretrained[None].float()])
        rows = [leaf.runs.index(r) if r in leaf.runs else len(leaf.runs) for r in runs]
        return table[torch.tensor(rows, device=table.device)]

    def step(self, batches: dict[int, np.ndarray], seeds: dict[int, int]) -> Losses:
        """See `Engine.step`."""
        losses = dict.fromkeys(batches, 0.0)
        gradient = torch.zeros_like(self.theta)
        todo = [
            Share(run, self.train[run], rows, whole=self.whole) for run, rows in batches.items()
        ]
        if not self.measured:
            self._fit(todo, seeds)
        work = partial(self._gradient, seeds=seeds)
        for chunk, (means, grads) in in_passes(todo, self.passes, work, self._shrink):
            for share, loss in zip(chunk, means, strict=True):
                losses[share.run] += loss
            gradient += grads
        bad = self.optimizer.update(gradient, self._norms(gradient), losses)
        return {r: None if r in bad else losses[r] for r in batches}

    def _shrink(self, chunk: list[Share[Data]], error: Exception) -> None:
        """Makes passes smaller, after one that did not fit."""
        if self.whole and len(chunk) == 1:
            raise self._too_large(chunk[0]) from error
        self.passes.tokens = self.passes.half(self.passes.tokens, error)

    def _fit(self, todo: list[Share[Data]], seeds: dict[int, int]) -> None:
        """Measures the memory of a token on one run's batch, before passes become larger."""
        first, _ = take(todo[:1], self.passes.tokens)
        size, most = sum(int(share.lengths().sum()) for share in first), self.passes.tokens
        with suppress(torch.OutOfMemoryError):  # met again, and dealt with, in the step itself
            fit = fitting_tokens(
                self.device, max(most, size), size, lambda: self._gradient(first, seeds)
            )
            if self.whole and fit < size:
                raise self._too_large(first[0])
            self.passes.tokens = min(fit, most)
        self.measured = True

    def _too_large(self, share: Share[Data]) -> UserError:
        return UserError(
            f"{self.recipes[share.run].technique}: a batch of {len(share.rows)} examples does not "
            "fit into memory, and its objective needs it whole: set a smaller batch_size"
        )

    def _norms(self, gradient: torch.Tensor) -> torch.Tensor:
        """The norm of each run's gradient, (R,); summed in double and always in the same order."""
        each = torch.segment_reduce(gradient.double().square(), "sum", lengths=self.segments)
        squares = each.new_zeros(len(self.recipes)).index_add_(0, self.segment_owner, each)
        return squares.sqrt().float()

    def _gradient(
        self, chunk: list[Share[Data]], seeds: dict[int, int]
    ) -> tuple[list[float], torch.Tensor]:
        """The weighted mean loss of each share, and the gradient of their sum, (P,)."""
        counts = [len(share.rows) for share in chunk]
        weights = np.repeat([s.weight / len(s.rows) for s in chunk], counts)
        values = [leaf.values for leaf in self.leaves]
        with self._losses(chunk, seeds) as unweighted:
            each = unweighted * torch.as_tensor(weights, dtype=torch.float32, device=self.device)
            grads = torch.autograd.grad(each.sum(), values, allow_unused=True)
        flat_grads = [
            torch.zeros_like(v).view(-1) if g is None else g.reshape(-1)
            for g, v in zip(grads, values, strict=True)
        ]
        parts = np.split(each.detach().cpu().numpy(), np.cumsum(counts)[:-1])
        return [float(part.sum()) for part in parts], torch.cat(flat_grads)

    @abstractmethod
    def _losses(
        self, chunk: list[Share[Data]], seeds: dict[int, int]
    ) -> AbstractContextManager[torch.Tensor]:
        """The loss of each example of these shares, (n,), in order; differentiated within."""

    def start_from(self, run: int, biases: Tensors | None, head: Tensors | None) -> None:
        """See `Engine.start_from`."""
        for leaf in self.leaves:
            given = head if leaf.site is None else biases
            if given is None or run not in leaf.runs:
                continue
            value = given[leaf.parameter] if leaf.site is None else given[leaf.site.term]
            if leaf.site is not None:
                value = value[leaf.site.layer]
            leaf.values.data[leaf.runs.index(run)] = value.to(leaf.values.device)

    def state(self) -> dict[str, torch.Tensor]:
        """Trained values and moments, and the size of passes: the same sums, the same bytes."""
        kept = {k: getattr(self.optimizer, k) for k in MOMENTS}
        kept["tokens"] = torch.tensor(self.passes.tokens)
        return {k: v.detach().cpu().clone() for k, v in kept.items()}

    def load(self, state: dict[str, torch.Tensor]) -> None:
        """See `Engine.load`."""
        for name in MOMENTS:
            getattr(self.optimizer, name).copy_(state[name])
        self.passes.tokens = int(state["tokens"])

    def close(self) -> None:
        """Restores nothing: only the drawn head of the model was changed."""

    def snapshot(self, run: int) -> dict[str, torch.Tensor]:
        """See `Engine.snapshot`."""
        biases = {term: values.clone() for term, values in self.pretrained.items()}
        leaves = {leaf.site: leaf for leaf in self.leaves if leaf.site is not None}
        for term in trained_terms(self.model, self.recipes[run]):
            for site in self.model.sites.of(term):
                leaf = leaves[site]
                biases[term][site.layer] = leaf.values[leaf.runs.index(run)].detach().cpu()
        return biases

    def head(self, run: int) -> dict[str, torch.Tensor]:
        """See `Engine.head`."""
        leaves = [leaf for leaf in self.leaves if leaf.site is None]  # which all runs train
        return {leaf.parameter: leaf.values[run].detach().cpu().clone() for leaf in leaves}
