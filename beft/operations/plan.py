"""Plan a study: what it would run, what exists already, and what the rest would cost."""

import heapq
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from rich.table import Table

from beft.data.mirror.stock import missing
from beft.operations.cost import Costs, Speed
from beft.operations.demand import Demand, demand_of
from beft.operations.disk import disk_bytes
from beft.operations.left import Left, left_of
from beft.operations.profile import Profile
from beft.store import data_checks
from beft.store.inputs import Inputs
from beft.store.precision import remarks
from beft.study.grid import added_for_selectors
from beft.study.project import Project
from beft.study.recipe import Pack, Recipe


@dataclass(frozen=True)
class Job:
    """A pack, and what is left to do of it."""

    pack: Pack
    left: Left
    seconds: float | None  # an estimate of their time; None if it cannot be estimated
    demand: Demand  # what the job's rule requests from the scheduler

    @property
    def runs(self) -> list[Recipe]:
        """The runs that do not count yet; empty if the job has nothing to do."""
        return self.left.runs


@dataclass(frozen=True)
class Plan:
    """The jobs of a study, and what they cost."""

    project: Project
    costs: Costs
    profile: Profile | None = None  # the workflow profile that would submit the jobs, if given

    @property
    def gpus(self) -> int:
        """The number of GPUs that a training job requests."""
        chosen = self.profile.gpu if self.profile else None
        return self.project.params.execution.gpu if chosen is None else chosen

    @cached_property
    def speed(self) -> Speed:
        """How fast the jobs will be."""
        return self.costs.speed(self.gpus > 0)

    @cached_property
    def jobs(self) -> list[Job]:
        """All jobs. A run is left to do unless `beft verify` would accept it."""
        made, inputs = [], Inputs()
        for pack in self.project.packs.values():
            left = left_of(self.project.layout, pack, inputs)
            seconds = self.costs.seconds(left.runs, self.speed)
            made.append(Job(pack, left, seconds, demand_of(self.costs, pack)))
        return made

    @cached_property
    def waiting(self) -> list[Job]:
        """The jobs that have something to do."""
        return [job for job in self.jobs if job.runs]

    @cached_property
    def runs(self) -> list[Recipe]:
        """The runs that do not count yet."""
        return [recipe for job in self.jobs for recipe in job.runs]


def wall_seconds(seconds: Iterable[float], at_once: int) -> float:
    """How long jobs take if `at_once` of them run in parallel, the longest ones first."""
    busy = [0.0] * max(at_once, 1)
    for each in sorted(seconds, reverse=True):
        heapq.heappush(busy, heapq.heappop(busy) + each)
    return max(busy)


def as_table(plan: Plan) -> Table:
    """The runs of each model, task and regime; with a profile, the costs of each model."""
    return _costs_by_model(plan) if plan.profile else _runs_by_cell(plan)


def as_lines(plan: Plan) -> list[str]:
    """What is left to run and what it costs; with a profile, also what is not fetched yet."""
    lacking = _lacking(plan.project) if plan.profile else ()
    unlike = remarks(run for job in plan.jobs for run in job.left.computed)
    odd = _odd(plan.project)
    return [*_summary(plan), *_refused(plan), *odd, *unlike, *_cluster(plan), *lacking]


def _runs_by_cell(plan: Plan) -> Table:
    left = {recipe.digest for recipe in plan.runs}
    cells: dict[tuple[str, str, str], list[Recipe]] = {}
    for recipe in plan.project.recipes:
        key = (recipe.model["alias"], recipe.task["name"], recipe.regime)
        cells.setdefault(key, []).append(recipe)
    columns = ("train examples", "epochs", "runs", "already there")
    table = _table(plan.project, ("model", "task", "regime"), columns)
    for key, recipes in cells.items():
        epochs = max(recipe.training["epochs"] for recipe in recipes)
        there = sum(r.digest not in left for r in recipes)
        numbers = (recipes[0].subset["size"], epochs, len(recipes), there)
        table.add_row(*key, *map(str, numbers))
    return table


def _costs_by_model(plan: Plan) -> Table:
    columns = ("parameters", "jobs", "runs", "there", "GPU hours", "GPU GB", "memory GB", "disk GB")
    table = _table(plan.project, ("model",), columns)
    groups: dict[str, list[Job]] = {}
    for job in plan.jobs:
        groups.setdefault(job.pack.recipes[0].model["alias"], []).append(job)
    for alias, jobs in groups.items():
        model = plan.costs.shape(jobs[0].pack.recipes[0])
        left = [recipe for job in jobs for recipe in job.runs]
        runs = sum(len(job.pack.recipes) for job in jobs)
        known = [job.seconds for job in jobs if job.seconds is not None]
        gpu = max(job.demand.gpu_memory_mb or 0 for job in jobs)
        memory = max(job.demand.memory_mb for job in jobs)
        table.add_row(
            alias,
            f"{model.parameters / 1e6:,.4g} M" if model else "unknown",
            str(sum(bool(job.runs) for job in jobs)),
            str(len(left)),
            str(runs - len(left)),
            _hours(sum(known)) if len(known) == len(jobs) else "unknown",
            f"{gpu / 1024:.1f}" if gpu else "unknown",
            f"{memory / 1024:.1f}",
            f"{disk_bytes(plan.costs, left) / 1e9:.2g}",
        )
    return table


def _table(project: Project, left: Iterable[str], right: Iterable[str]) -> Table:
    title = f"study {project.name}: {len(project.recipes)} runs, {len(project.packs)} jobs"
    table = Table(title=title)
    for column in left:
        table.add_column(column)
    for column in right:
        table.add_column(column, justify="right")
    return table


def _summary(plan: Plan) -> list[str]:
    runs, waiting = plan.runs, plan.waiting
    lines = [f"to run: {len(runs)} of {len(plan.project.recipes)} in {len(waiting)} jobs"]
    if added := len(added_for_selectors(plan.project.recipes, plan.project.study)):
        lines.append(f"for selectors alone: {added} runs ('selectors: []' leaves them out)")
    if extra := _measuring_jobs(plan.project):
        lines.append(f"not included in the times below: {', '.join(extra)}")
    if not runs:
        return lines
    known = [job.seconds for job in waiting if job.seconds is not None]
    if known:
        lines.append(f"time: about {_hours(sum(known))} hours of one job's time on {plan.speed}")
    if unknown := sum(len(job.runs) for job in waiting if job.seconds is None):
        lines.append(
            f"time of {unknown} runs is unknown: their model has no 'parameters' in its definition "
            "and is not in the mirror, or their task is not fetched"
        )
    largest = max(job.demand.memory_mb for job in waiting)
    disk = disk_bytes(plan.costs, runs) / 1e9
    written = f"; disk: {disk:.2g} GB" if disk else ""
    return [*lines, f"memory of the largest job: {largest / 1024:.1f} GB{written}"]


def _refused(plan: Plan) -> list[str]:
    """How many runs do not count although they were trained, and the first of them."""
    refused = [line for job in plan.jobs for line in job.left.refused.items()]
    if not refused:
        return []
    folder, why = refused[0]
    return [
        f"{len(refused)} of these were run before, and 'beft verify' refuses them; 'beft verify "
        f"--repair' makes snakemake run them again. The first: {folder}: {why}"
    ]


def _odd(project: Project) -> list[str]:
    """What is odd about the rows of local files that have been fetched, a line for each task."""
    own = {key: t for key, t in project.sources().items() if project.params.tasks[t].path}
    found = {t: data_checks.told(project.layout.folder("sources") / key) for key, t in own.items()}
    return [f"data of tasks.{task}: {odd}" for task, odd in found.items() if odd]


def _measuring_jobs(project: Project) -> list[str]:
    """The jobs that train no run of the study, counted in words."""
    counts, layout = [], project.layout
    for paths, purpose in (
        (map(layout.timing, project.timings), "to time runs"),
        (map(layout.merge, project.merges), "to merge biases"),
    ):
        if left := sum(not path.is_file() for path in paths):
            counts.append(f"{left} job{'s' * (left > 1)} {purpose}")
    return counts


def _cluster(plan: Plan) -> list[str]:
    """What depends on how many jobs run at once."""
    seconds = [job.seconds for job in plan.waiting if job.seconds is not None]
    if plan.profile is None or not seconds:
        return []
    counts = {1: "one GPU", 8: "eight GPUs"}
    if plan.profile.jobs:
        counts[plan.profile.jobs] = f"{plan.profile.jobs} jobs at once ({plan.profile.path})"
    times = [f"{name}: {_hours(wall_seconds(seconds, n))} hours" for n, name in counts.items()]
    longest = max(job.demand.runtime_minutes for job in plan.waiting)
    lines = [
        f"time of all jobs without queueing: {'; '.join(times)}",
        f"the longest job requests {_hours(60 * longest)} hours, which includes a margin",
    ]
    if not plan.gpus:
        lines.append("jobs ask for no GPU and train on CPUs; GPUs: --set-resources train:gpu=1")
    return lines


def _lacking(project: Project) -> list[str]:
    lines = [f"missing: {line}" for line in missing(project)]
    if len(lines) < 2:
        return lines
    fetch = f"beft fetch --study {project.name}"
    return [lines[0], f"missing: {len(lines) - 1} more; '{fetch} --check' lists, '{fetch}' fetches"]


def _hours(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours:,.0f}" if hours >= 10 else f"{hours:.2g}"
