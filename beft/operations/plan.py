"""`beft plan`: what a study would run, what is there, and what the rest takes."""

import heapq
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from rich.console import Console
from rich.table import Table

from beft.data.mirror.stock import missing
from beft.operations.cost import Costs, Speed
from beft.operations.demand import Demand, demand_of
from beft.operations.profile import Profile
from beft.operations.sizes import Extent, Shape
from beft.store.run_folder import open_run
from beft.study.project import Project
from beft.study.recipe import Pack, Recipe
from beft.techniques import TECHNIQUES

TERM_WIDTHS = 11  # widths of all biases of a layer, in widths of the layer: BERT, OPT
SMALL_FILES = 20_000  # bytes: recipe, metrics, history, provenance, head


@dataclass(frozen=True)
class Job:
    """A pack with what is left of it.

    Attributes:
        runs: those that are not there; none when the job has nothing to do.
        seconds: that they take; None where nobody knows.
        demand: what its rule asks the scheduler for.
    """

    pack: Pack
    runs: tuple[Recipe, ...]
    seconds: float | None
    demand: Demand


def jobs(project: Project, costs: Costs, speed: Speed) -> list[Job]:
    """The study's jobs. A run counts as there when it was written, a job when its manifest was."""
    made = []
    for key, pack in project.packs.items():
        finished = (project.layout.pack(key)).is_file()
        left = () if finished else _left(project, pack)
        seconds = costs.seconds(left, speed)
        made.append(Job(pack, left, seconds, demand_of(costs, pack)))
    return made


def _left(project: Project, pack: Pack) -> tuple[Recipe, ...]:
    layout = project.layout
    return tuple(r for r in pack.recipes if not open_run(layout, r).is_written)


def wall_seconds(seconds: Iterable[float], at_once: int) -> float:
    """How long jobs take, so many of them at once, the longest ones first."""
    busy = [0.0] * max(at_once, 1)
    for each in sorted(seconds, reverse=True):
        heapq.heappush(busy, heapq.heappop(busy) + each)
    return max(busy)


def run_bytes(recipe: Recipe, model: Shape, task: Extent) -> float:
    """What a run's folder takes: all biases before, after and after each epoch; predictions."""
    snapshots = recipe.training["epochs"] + 2 + 3 * TECHNIQUES[recipe.technique].measures
    predicted = min(recipe.training.get("evaluated", "all"), task.validation, key=_size)
    each = 4 * max(len(recipe.task.get("labels", ())), 1)
    return (
        4 * snapshots * TERM_WIDTHS * model.layers * model.width
        + 2 * predicted * each
        + SMALL_FILES
    )


def _size(value: int | str) -> float:
    return float("inf") if value == "all" else value


def disk_bytes(costs: Costs, runs: Iterable[Recipe]) -> float:
    """What runs will take on disk, corrected by what done runs of their technique took.

    Runs of models or tasks whose size is not known count nothing.
    """

    def estimate(recipe: Recipe) -> float:
        model, task = costs.shape(recipe), costs.extent(recipe)
        return run_bytes(recipe, model, task) if model and task else 0.0

    ratios: dict[tuple, list[float]] = {}
    for done in costs.done:
        key = (done.recipe.model["alias"], done.recipe.technique)
        ratios.setdefault(key, []).append(done.size / estimate(done.recipe))
    known = {key: median(values) for key, values in ratios.items()}
    return sum(estimate(r) * known.get((r.model["alias"], r.technique), 1.0) for r in runs)


def show(project: Project, profile: Profile | None = None) -> None:
    """Prints the plan, with a profile that of the jobs it would submit."""
    costs = Costs(project)
    asked = project.params.execution.gpu if profile is None or profile.gpu is None else profile.gpu
    speed = costs.speed(bool(asked))
    planned = jobs(project, costs, speed)
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    console.print(_by_model(project, costs, planned) if profile else _by_place(project, planned))
    for line in (*_summary(project, costs, planned, speed), *_cluster(profile, planned, asked)):
        console.print(line, soft_wrap=True, markup=False)
    if profile and (lines := missing(project)):
        console.print(f"missing: {lines[0]}", soft_wrap=True, markup=False)
        if len(lines) > 1:
            console.print(
                f"missing: {len(lines) - 1} more, listed by 'beft fetch --study {project.name} "
                f"--check' and brought by 'beft fetch --study {project.name}'",
                soft_wrap=True,
            )


def _by_place(project: Project, planned: list[Job]) -> Table:
    left = {recipe.digest for job in planned for recipe in job.runs}
    places: dict[tuple, list[Recipe]] = {}
    for recipe in project.recipes:
        key = (recipe.model["alias"], recipe.task["name"], recipe.regime)
        places.setdefault(key, []).append(recipe)
    columns = ("train examples", "epochs", "runs", "already there")
    table = _table(project, ("model", "task", "regime"), columns)
    for key, recipes in places.items():
        epochs = max(recipe.training["epochs"] for recipe in recipes)
        there = sum(r.digest not in left for r in recipes)
        numbers = (recipes[0].subset["size"], epochs, len(recipes), there)
        table.add_row(*key, *map(str, numbers))
    return table


def _by_model(project: Project, costs: Costs, planned: list[Job]) -> Table:
    columns = ("parameters", "jobs", "runs", "there", "GPU hours", "GPU GB", "memory GB", "disk GB")
    table = _table(project, ("model",), columns)
    groups: dict[str, list[Job]] = {}
    for job in planned:
        groups.setdefault(job.pack.recipes[0].model["alias"], []).append(job)
    for alias, own in groups.items():
        model = costs.shape(own[0].pack.recipes[0])
        runs, left = (sum(map(len, part)) for part in (
            (j.pack.recipes for j in own), (j.runs for j in own)))  # fmt: skip
        known = [job.seconds for job in own if job.seconds is not None]
        gpu = max((job.demand.gpu_memory_mb or 0 for job in own), default=0)
        memory = max(job.demand.memory_mb for job in own)
        table.add_row(
            alias,
            f"{model.parameters / 1e6:,.4g} M" if model else "unknown",
            str(sum(bool(job.runs) for job in own)),
            str(left),
            str(runs - left),
            _hours(sum(known)) if len(known) == len(own) else "unknown",
            f"{gpu / 1024:.1f}" if gpu else "unknown",
            f"{memory / 1024:.1f}",
            f"{disk_bytes(costs, (r for j in own for r in j.runs)) / 1e9:.2g}",
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


def _summary(project: Project, costs: Costs, planned: list[Job], speed: Speed) -> list[str]:
    runs = [recipe for job in planned for recipe in job.runs]
    waiting = [job for job in planned if job.runs]
    lines = [f"to run: {len(runs)} of {len(project.recipes)} in {len(waiting)} jobs"]
    if extra := _besides(project):
        lines.append(extra)
    if not runs:
        return lines
    known = [job.seconds for job in waiting if job.seconds is not None]
    if known:
        lines.append(f"time: about {_hours(sum(known))} hours of one job's time on {speed}")
    if unknown := sum(len(job.runs) for job in waiting if job.seconds is None):
        lines.append(
            f"time of {unknown} is unknown: their model has no 'parameters' in params.yaml and is "
            "not in the mirror, or their task is not fetched"
        )
    largest = max(job.demand.memory_mb for job in waiting)
    disk = disk_bytes(costs, runs) / 1e9
    written = f"; disk: {disk:.2g} GB" if disk else ""
    return [*lines, f"memory of the largest job: {largest / 1024:.1f} GB{written}"]


def _besides(project: Project) -> str:
    """The jobs that train no run of the study, and are in no hours of this plan."""
    layout, counts = project.layout, []
    for paths, words in (
        (map(layout.timing, project.timings), "to time runs alone"),
        (map(layout.merge, project.merges), "to merge biases"),
    ):
        if left := sum(not path.is_file() for path in paths):
            counts.append(f"{left} job{'s' * (left > 1)} {words}")
    return f"besides, not in the times below: {', '.join(counts)}" if counts else ""


def _cluster(profile: Profile | None, planned: list[Job], asked: int) -> list[str]:
    """What depends on how many jobs there are at once."""
    seconds = [job.seconds for job in planned if job.runs and job.seconds is not None]
    if profile is None or not seconds:
        return []
    counts = {1: "one GPU", 8: "eight GPUs"}
    if profile.jobs:
        counts[profile.jobs] = f"{profile.jobs} jobs at once ({profile.path})"
    lines = [f"{name}: {_hours(wall_seconds(seconds, n))} hours" for n, name in counts.items()]
    longest = max(job.demand.runtime_minutes for job in planned if job.runs)
    lines = [f"all of it, queueing left out: {'; '.join(lines)}"]
    lines.append(f"the longest job asks for {_hours(60 * longest)} hours, with a margin")
    if not asked:
        lines.append("its jobs ask for no GPU and train on CPUs; GPUs: --set-resources train:gpu=1")
    return lines


def _hours(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours:,.0f}" if hours >= 10 else f"{hours:.2g}"
