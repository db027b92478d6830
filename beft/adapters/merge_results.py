"""What a file of merged biases says (Table 3), and whether it is true of its runs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beft.adapters.angles import between
from beft.errors import UserError
from beft.selectors.score_files import group
from beft.store.files import CHECKSUMS, read_json, read_manifest, run_flaw
from beft.store.measurement_files import unread
from beft.study.identity import sha256
from beft.study.measurements import MERGE_VERSION, Couple, Merged
from beft.study.project import Project
from beft.study.recipe import Recipe, kind_of

SIDES = ("first", "second")  # of the two tasks
FACTS = ("seed", "bias", "head", "task", "split", "metric")  # what a result is of
Statuses = dict[str, tuple[str, str]]  # digest of a run -> what became of it, and why


@dataclass(frozen=True)
class Way:
    """One way to answer a task.

    Attributes:
        bias: `none` (pretrained), of the `first` or the `second` task, or their `mean`.
        head: `fresh` (untuned), the task's `own`, or that of the `first` or `second` task's run.
    """

    bias: str
    head: str


def ways(couple: Couple, side: int) -> Iterator[Way]:
    """How one of the two tasks is answered, in the order of the table.

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


def places(merged: Merged) -> list[dict[str, Any]]:
    """What every result of a file is of, in its order: `FACTS`."""
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


def status_of(project: Project, recipe: Recipe) -> tuple[str, str]:
    """What became of a run, and why.

    Raises:
        UserError: it should be there and is not, or is damaged.
    """
    flaw = run_flaw(project.layout, recipe)
    if flaw is None:
        metrics = read_json(project.layout.run(recipe) / "metrics.json")
        return metrics["status"], metrics["reason"]
    manifest = project.layout.pack(project.pack_of(recipe))
    entry = read_manifest(manifest).get(recipe.digest) if manifest.is_file() else None
    if flaw == "missing" and entry and entry["status"] == "skipped":
        return entry["status"], entry["reason"]
    raise UserError(
        f"{project.layout.run(recipe)}: {flaw}; run 'beft verify --repair' and then snakemake again"
    )


def needed(couple: Couple, way: Way, side: int) -> list[Recipe]:
    """The runs that a way to answer the task of a side is made from."""
    if way.bias == "none":
        return [r for r in [couple.untuned[side]] if r is not None]
    biases = couple.tuned if way.bias == "mean" else [couple.tuned[SIDES.index(way.bias)]]
    return [*biases, couple.tuned[side if way.head == "own" else SIDES.index(way.head)]]


def behind(merged: Merged, place: dict) -> tuple[int, list[Recipe]]:
    """The side of a result's task, and the runs that it is made from."""
    couple = next(c for c in merged.couples if c.tuned[0].seed == place["seed"])
    side = [r.task["name"] for r in couple.tuned].index(place["task"])
    return side, needed(couple, Way(place["bias"], place["head"]), side)


def sums_of(project: Project, merged: Merged) -> dict[str, str | None]:
    """SHA-256 of the checksums of each run that a file is made from; None for one left out."""
    sums = {}
    for recipe in merged.recipes():
        path = project.layout.run(recipe) / CHECKSUMS
        sums[recipe.digest] = sha256(path) if path.is_file() else None
    return sums


def angles_of(
    project: Project, merged: Merged, terms: Sequence[str], status: Statuses
) -> list[dict[str, Any]]:
    """How far apart the biases of the two tasks point, for each seed that has both."""
    found = []
    for couple in merged.couples:
        if all(status[r.digest][0] == "ok" for r in couple.tuned):
            one, other = (_before_and_after(project, recipe) for recipe in couple.tuned)
            found.append({"seed": couple.tuned[0].seed, **between(one, other, terms)})
    return found


def _before_and_after(project: Project, recipe: Recipe) -> tuple[dict, dict]:
    """The biases of a run before it, and after its best epoch."""
    folder = project.layout.run(recipe)
    best = read_json(folder / "metrics.json")["best_epoch"]
    file = folder / "biases.safetensors"
    return group(file, "pre"), group(file, f"epoch-{best}")


def merge_flaw(project: Project, path: Path, merged: Merged) -> str | None:
    """What is wrong with a file of results; None when it is whole and of these runs as they are.

    Angles are computed again; metrics of a run's own biases and head are held against the run's.
    """
    try:
        written = read_json(path)
        facts = [{key: row[key] for key in FACTS} for row in written["results"]]
        if written["version"] != MERGE_VERSION or facts != places(merged):
            return "not of the runs that its name says"
        if written["runs"] != sums_of(project, merged):
            return "made from other runs than are here now"
        status = {r.digest: status_of(project, r) for r in merged.recipes()}
        if written["angles"] != angles_of(project, merged, written["terms"], status):
            return "its angles are not those of its runs' biases"
        for row in written["results"]:
            if _contradicts(project, merged, row, status):
                where = f"{row['task']}, {row['split']}, seed {row['seed']}"
                return f"its metric of {row['bias']}/{row['head']} on {where} is not the run's"
    except UserError as error:
        return unread(path, error)
    except (KeyError, TypeError, AttributeError):
        return "damaged (not of merged biases)"
    return None


def _contradicts(project: Project, merged: Merged, row: dict, status: Statuses) -> bool:
    """Whether a result is not what a run recorded, where it should be, or no fraction at all."""
    side, runs = behind(merged, row)
    if any(status[r.digest][0] != "ok" for r in runs):
        return row["status"] == "ok" or row["value"] is not None
    if row["status"] != "ok" or not (row["value"] is None or -1 <= row["value"] <= 1):
        return True
    if len({r.digest for r in runs}) != 1 or row["bias"] not in ("none", SIDES[side]):
        return False  # it was measured here alone: no run has recorded it
    told = read_json(project.layout.run(runs[0]) / "metrics.json")["splits"]
    return row["value"] != told[row["split"]]["best"]
