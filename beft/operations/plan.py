"""What a study would run, what exists already, and what the rest would cost."""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from statistics import median

from beft.operations.cost import Costs, Speed
from beft.operations.demand import Demand, demand_of
from beft.operations.profile import Profile
from beft.operations.sizes import Extent, Shape
from beft.store.run_folder import open_run
from beft.study.project import Project
from beft.study.recipe import Pack, Recipe
from beft.techniques import TECHNIQUES

TERM_WIDTHS = 11  # numbers in all biases of a layer, in widths of the model: BERT, OPT
SMALL_FILES = 20_000  # bytes of recipe, metrics, history, provenance and head


@dataclass(frozen=True)
class Job:
    """A pack, and what is left to do of it."""

    pack: Pack
    runs: tuple[Recipe, ...]  # the runs that do not exist yet; empty if the job has nothing to do
    seconds: float | None  # an estimate of their time; None if it cannot be estimated
    demand: Demand  # what the job's rule requests from the scheduler


@dataclass(frozen=True)
class Plan:
    """The jobs of a study, and what they cost."""

    project: Project
    costs: Costs
    # the workflow profile that would submit the jobs, if one is given
    profile: Profile | None = None

    @property
    def gpus(self) -> int:
        """The number of GPUs that a training job requests."""
        asked = self.profile.gpu if self.profile else None
        return self.project.params.execution.gpu if asked is None else asked

    @cached_property
    def speed(self) -> Speed:
        """How fast the jobs will be."""
        return self.costs.speed(self.gpus > 0)

    @cached_property
    def jobs(self) -> list[Job]:
        """All jobs. A run exists once its folder is written, a job once its manifest is."""
        made = []
        for key, pack in self.project.packs.items():
            finished = self.project.layout.pack(key).is_file()
            left = () if finished else self._missing(pack)
            seconds = self.costs.seconds(left, self.speed)
            made.append(Job(pack, left, seconds, demand_of(self.costs, pack)))
        return made

    def _missing(self, pack: Pack) -> tuple[Recipe, ...]:
        layout = self.project.layout
        return tuple(r for r in pack.recipes if not open_run(layout, r).is_written)

    @cached_property
    def waiting(self) -> list[Job]:
        """The jobs that have something to do."""
        return [job for job in self.jobs if job.runs]

    @cached_property
    def runs(self) -> list[Recipe]:
        """The runs that do not exist yet."""
        return [recipe for job in self.jobs for recipe in job.runs]


def wall_seconds(seconds: Iterable[float], at_once: int) -> float:
    """How long jobs take if `at_once` of them run in parallel, the longest ones first."""
    busy = [0.0] * max(at_once, 1)
    for each in sorted(seconds, reverse=True):
        heapq.heappush(busy, heapq.heappop(busy) + each)
    return max(busy)


def run_bytes(recipe: Recipe, model: Shape, task: Extent) -> float:
    """Estimates the size of a run's folder in bytes.

    A folder holds all biases before, after and after each epoch of training, the statistics of
    gradients where the technique measures them, and the predictions of two epochs.
    """
    snapshots = recipe.training["epochs"] + 2 + 3 * TECHNIQUES[recipe.technique].measures
    evaluated = recipe.training.get("evaluated", "all")
    predicted = task.validation if evaluated == "all" else min(evaluated, task.validation)
    each = 4 * max(len(recipe.task.get("labels", ())), 1)
    return (
        4 * snapshots * TERM_WIDTHS * model.layers * model.width
        + 2 * predicted * each
        + SMALL_FILES
    )


def disk_bytes(costs: Costs, runs: Iterable[Recipe]) -> float:
    """Estimates the disk space of runs in bytes, corrected by finished runs of their technique.

    A run counts as 0 if the size of its model or task is unknown.
    """

    def estimate(recipe: Recipe) -> float:
        model, task = costs.shape(recipe), costs.extent(recipe)
        return run_bytes(recipe, model, task) if model and task else 0.0

    ratios: dict[tuple[str, str], list[float]] = {}
    for done in costs.done:
        key = (done.recipe.model["alias"], done.recipe.technique)
        ratios.setdefault(key, []).append(done.size / estimate(done.recipe))
    known = {key: median(values) for key, values in ratios.items()}
    return sum(estimate(r) * known.get((r.model["alias"], r.technique), 1.0) for r in runs)
