"""Format and validation of merge results (Table 3)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from beft.adapters.angles import between
from beft.errors import UserError
from beft.store.files import read_json
from beft.store.measurement_files import unread
from beft.store.run_folder import Run, check_sound, open_run
from beft.study.measurements import MERGE_VERSION, Couple, Merged
from beft.study.project import Project
from beft.study.recipe import Recipe, kind_of
from beft.tasks.words import Plain

SIDES = ("first", "second")  # of the two tasks
FACTS = ("seed", "bias", "head", "task", "split", "metric")  # which identify a result
Runs = dict[str, Run]  # by digest


@dataclass(frozen=True)
class Way:
    """One way to answer a task."""

    bias: str  # `none` (pretrained), of the `first` or the `second` task, or their `mean`
    head: str  # `fresh` (untuned), the task's `own`, or that of the `first` or `second` task's run


def ways(couple: Couple, side: int) -> Iterator[Way]:
    """The combinations of bias and head that answer one of the two tasks, in the table's order.

    The paper keeps "each task's own head" and does not say which head goes with a bias of another
    task, so where both tasks have as many labels the other run's head is tried, too.
    """
    yield Way("none", "fresh")
    for bias in SIDES:
        yield Way(bias, "own")
        if shares_head(couple):
            yield Way(bias, bias)
    yield Way("mean", "own")


def shares_head(couple: Couple) -> bool:
    """Whether a head of one task fits the other one; decoders have none."""
    first, second = couple.tuned
    if kind_of(first.model) == "decoder":
        return False
    return len(first.task["labels"]) == len(second.task["labels"])


def facts_of_results(merged: Merged) -> list[Plain]:
    """The `FACTS` of every result, in the order of the file."""
    return [
        {
            "seed": couple.tuned[0].seed,
            "bias": way.bias,
            "head": way.head,
            "task": couple.tuned[side].task["name"],
            "split": split,
            "metric": couple.tuned[side].task["metric"],
        }
        for couple in merged.couples
        for side in (0, 1)
        for way in ways(couple, side)
        for split in couple.tuned[side].task["validation"]
    ]


def open_runs(project: Project, merged: Merged) -> Runs:
    """All runs that are merged or compared, by digest; nothing is checked."""
    layout = project.layout
    return {
        r.digest: open_run(layout, r, layout.pack(project.pack_of(r))) for r in merged.recipes()
    }


def check_runs(runs: Runs) -> None:
    """Makes sure that every run is sound, or was skipped by its pack.

    Raises:
        UserError: when one is missing or damaged.
    """
    for run in runs.values():
        if run.status != "skipped":
            check_sound(run)


def needed(couple: Couple, way: Way, side: int) -> list[Recipe]:
    """The runs that a combination of bias and head takes its values from."""
    if way.bias == "none":
        return [r for r in [couple.untuned[side]] if r is not None]
    biases = couple.tuned if way.bias == "mean" else [couple.tuned[SIDES.index(way.bias)]]
    return [*biases, couple.tuned[side if way.head == "own" else SIDES.index(way.head)]]


def sources(merged: Merged, facts: dict) -> tuple[int, list[Recipe]]:
    """The side of a result's task, and the runs that the result is computed from."""
    couple = next(c for c in merged.couples if c.tuned[0].seed == facts["seed"])
    side = [r.task["name"] for r in couple.tuned].index(facts["task"])
    return side, needed(couple, Way(facts["bias"], facts["head"]), side)


def checksums(runs: Runs) -> dict[str, str | None]:
    """The checksum of each run; None for one that was skipped."""
    return {digest: run.checksum for digest, run in runs.items()}


def angles_of(merged: Merged, terms: Sequence[str], runs: Runs) -> list[Plain]:
    """The angles between the biases of the two tasks, for each seed whose runs both count."""
    found = []
    for couple in merged.couples:
        tuned = [runs[recipe.digest] for recipe in couple.tuned]
        if all(run.status == "ok" for run in tuned):
            one, other = ((run.biases("pre"), run.tuned("best")) for run in tuned)
            found.append({"seed": couple.tuned[0].seed, **between(one, other, terms)})
    return found


def merge_flaw(project: Project, path: Path, merged: Merged) -> str | None:
    """What is wrong with a file of merge results; None if it fits the runs as they are now.

    Angles are computed again. Metrics of a run's biases with the same run's head must be those
    that the run recorded.
    """
    try:
        written = read_json(path)
        facts = [{key: row[key] for key in FACTS} for row in written["results"]]
        if written["version"] != MERGE_VERSION or facts != facts_of_results(merged):
            return "not of the runs that its name says"
        runs = open_runs(project, merged)
        if written["runs"] != checksums(runs):
            return "made from other runs than are here now"
        check_runs(runs)
        if written["angles"] != angles_of(merged, written["terms"], runs):
            return "its angles are not those of its runs' biases"
        for row in written["results"]:
            if _contradicts(merged, row, runs):
                where = f"{row['task']}, {row['split']}, seed {row['seed']}"
                return f"its metric of {row['bias']}/{row['head']} on {where} is not the run's"
    except UserError as error:
        return unread(path, error)
    except (KeyError, TypeError, AttributeError):
        return "damaged (not of merged biases)"
    return None


def _contradicts(merged: Merged, row: dict, runs: Runs) -> bool:
    """Whether a result differs from what its run recorded, or is no fraction."""
    side, needed_runs = sources(merged, row)
    if any(runs[r.digest].status != "ok" for r in needed_runs):
        return row["status"] == "ok" or row["value"] is not None
    if row["status"] != "ok" or not (row["value"] is None or -1 <= row["value"] <= 1):
        return True
    if len({r.digest for r in needed_runs}) != 1 or row["bias"] not in ("none", SIDES[side]):
        return False  # it was measured here alone: no run has recorded it
    return row["value"] != runs[needed_runs[0].digest].metrics["splits"][row["split"]]["best"]
