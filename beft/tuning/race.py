"""Race candidates over held-out folds: all of them briefly on some folds, the best on all."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from beft.operations.left import left_of
from beft.store.inputs import Inputs
from beft.store.run_folder import open_run
from beft.study.project import Project
from beft.study.recipe import Pack, Recipe
from beft.techniques import TECHNIQUES
from beft.tuning.candidates import Candidate
from beft.tuning.choice import Outcome, outcome
from beft.tuning.plan import Plan
from beft.tuning.project import prepare, recipe_of, write_step
from beft.tuning.subject import Stage, Subject
from beft.tuning.workers import Workers

TOGETHER = 8  # runs of one job: more of them share no more


@dataclass(frozen=True)
class Raced:
    """What a race found out."""

    first: list[Outcome]  # of the first round, all candidates
    last: list[Outcome]  # of the finalists, on all folds
    inert: dict[str, str]  # candidates whose term cannot matter -> why
    failed: dict[str, str]  # candidates that diverged -> why


def race(
    subject: Subject,
    plan: Plan,
    kind: str,
    workers: Workers,
    progress: Callable[[float], None],
) -> Raced:
    """Runs both rounds of a plan.

    Args:
        kind: of the task, as `candidates` takes it.
        progress: called with the share of the race that is done, from 0 to 1.
    """
    every = plan.every(kind)
    weight = plan.first_folds * len(every) * plan.first_epochs
    whole = weight + plan.folds * plan.finalists * plan.epochs

    inert: dict[str, str] = {}
    failed: dict[str, str] = {}
    stages = [subject.fold(k, plan.first_epochs, every) for k in range(plan.first_folds)]
    first = _round(
        subject, "first", stages, workers, lambda s: progress(s * weight / whole), inert, failed
    )
    finalists = best_of_each(first, plan.finalists)
    stages = [subject.fold(k, plan.epochs, finalists) for k in range(plan.folds)]
    last = _round(
        *(subject, "last", stages, workers),
        lambda s: progress((weight + s * (whole - weight)) / whole),
        *(inert, failed),
    )
    return Raced(first, last, inert, failed)


def best_of_each(outcomes: Sequence[Outcome], count: int) -> list[Candidate]:
    """The best rate of the best families, then their next best rates; always what trains nothing.

    The first round sees few epochs and few rows, so it may be wrong about rates.
    """
    ranked = [o.candidate for o in sorted(outcomes, key=lambda o: -o.mean)]
    cheap = [c for c in ranked if not c.trains]
    leaders = {c.family: c for c in reversed(ranked) if c.trains}
    first = [c for c in ranked if leaders.get(c.family) is c]
    second = [c for c in ranked if c.trains and c not in first]
    return [*[*first, *second][: max(1, count - len(cheap))], *cheap]


def _round(
    subject: Subject,
    name: str,
    stages: Sequence[Stage],
    workers: Workers,
    progress: Callable[[float], None],
    inert: dict[str, str],
    failed: dict[str, str],
) -> list[Outcome]:
    """Trains the runs of some stages; the outcomes of candidates that ended well in all of them."""
    study = write_step(subject, name, stages)
    project = prepare(subject.place.params, study)
    runs = {(s, c): recipe_of(project, s, c) for s in stages for c in s.candidates}
    todo = left(project, runs.values())
    workers.train(study, jobs(todo, len(workers.processes)), progress)
    found = []
    for candidate in stages[0].candidates:
        curves = []
        for stage in stages:
            recipe = runs[stage, candidate]
            if reason := _skipped(project, recipe):
                inert[str(candidate)] = reason
                break
            run = open_run(project.layout, recipe)
            if run.status != "ok":
                failed[f"{candidate} at {candidate.rate:g}"] = run.reason
                break
            split = recipe.task["validation"][0]
            curves.append({epoch: values[split] for epoch, _, values in run.history()})
        else:
            found.append(outcome(candidate, curves))
    return found


def left(project: Project, recipes: Iterable[Recipe]) -> list[Recipe]:
    """The runs that are still to be trained: an earlier call or a cluster may have trained some."""
    inputs, skip = Inputs(), project.study.skip_inert
    return [
        recipe
        for recipe in recipes
        if left_of(project.layout, Pack((recipe,), skip), inputs).runs
        and not _skipped(project, recipe)
    ]


def _skipped(project: Project, recipe: Recipe) -> str | None:
    """Why a run was left out as inert."""
    from beft.store.manifest import read_manifest

    if open_run(project.layout, recipe).is_written or TECHNIQUES[recipe.technique].term is None:
        return None
    folder = project.layout.folder("packs") / recipe.cell()
    for manifest in sorted(folder.glob("*.json")):
        entry = read_manifest(manifest).get(recipe.digest)
        if entry and entry["status"] == "skipped":
            return str(entry["reason"])
    return None


def jobs(recipes: Sequence[Recipe], workers: int) -> list[list[str]]:
    """Digests of the runs that are trained together: of one task and of equal settings.

    The longest jobs come first, so that no process waits long for another at the end.
    """
    groups: dict[str, list[Recipe]] = {}
    for recipe in recipes:
        rest = {k: v for k, v in recipe.training.items() if k != "learning_rate"}
        groups.setdefault(repr((recipe.task["name"], rest)), []).append(recipe)
    parts = []
    for group in groups.values():
        share = -(-len(group) // workers) if len(groups) < workers else TOGETHER
        size = min(TOGETHER, share)
        parts += [group[i : i + size] for i in range(0, len(group), size)]
    parts.sort(key=lambda part: -sum(r.training["epochs"] for r in part))
    return [[recipe.digest for recipe in part] for part in parts]
