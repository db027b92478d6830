"""Biases of two tasks, and their mean, on each of the tasks: what a study measures (Table 3)."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beft.bench import Bench, current_inputs, is_decoder
from beft.errors import UserError
from beft.hashing import sha256
from beft.measured import MERGE_VERSION, Couple, Merged
from beft.merge import between, weighted_mean
from beft.numerics import code_digest
from beft.project import Project
from beft.recipe import Recipe
from beft.slots import trained_terms
from beft.store import CHECKSUMS, read_json, read_manifest, run_flaw, to_json
from beft.transplant import Host, Values, values_of

SIDES = ("first", "second")  # of the two tasks
FACTS = ("seed", "bias", "head", "task", "split", "metric")  # what a result is of


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
    if is_decoder(first):
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


def render_merge(
    project: Project,
    merged: Merged,
    device: str = "cpu",
    progress: Callable[[int, int, str], None] = lambda done, total, text: None,
) -> bytes:
    """Answers both tasks in all `ways`, for each seed, as JSON.

    Biases and heads are those of the best epoch, those that the runs' recorded metrics are of.

    Raises:
        UserError: when a run or an input is missing or damaged, or a run's own biases and head
            do not answer as the run did.
    """
    status = {r.digest: _status(project, r) for r in merged.recipes()}
    found: dict[tuple, float] = {}
    models: dict = {}
    done, total = 0, 2 * len(merged.couples)
    for side in (0, 1):
        recipe = merged.couples[0].tuned[side]
        current_inputs(project.layout, recipe)
        bench = Bench(project.layout, device, models if is_decoder(recipe) else {}, {})
        host = Host(bench, recipe)
        for couple in merged.couples:
            seed = couple.tuned[0].seed
            progress(done, total, f"{recipe.task['name']}, seed {seed}")
            for way, scores in _answers(project, host, couple, side, status):
                found |= {(seed, way.bias, way.head, side, s): v for s, v in scores.items()}
            done += 1
    terms = trained_terms(host.model, recipe)
    content = {
        "version": MERGE_VERSION,
        "code": code_digest(),
        "terms": list(terms),
        "runs": _sums(project, merged),
        "results": [_result(merged, place, found, status) for place in places(merged)],
        "angles": _angles(project, merged, terms, status),
    }
    return to_json(content)


def _status(project: Project, recipe: Recipe) -> tuple[str, str]:
    """What became of a run, and why; a run that should be there and is not is an error."""
    flaw = run_flaw(project.layout, recipe)
    if flaw is None:
        metrics = read_json(project.layout.run(recipe) / "metrics.json")
        return metrics["status"], metrics["reason"]
    manifest = project.layout.data / "packs" / project.pack_of(recipe)
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


def _answers(
    project: Project, host: Host, couple: Couple, side: int, status: dict
) -> Iterator[tuple[Way, dict[str, float]]]:
    """The metric of each way whose runs ended well, on each validation split."""
    recipe, tuned = couple.tuned[side], _values(project, couple, status)
    own = tuned.get(SIDES[side])
    if own is not None:
        host.check(recipe, own)
    for way in ways(couple, side):
        if any(status[r.digest][0] != "ok" for r in needed(couple, way, side)):
            continue
        if way.bias == "none":
            untuned = couple.untuned[side]
            if untuned is not None:
                folder = project.layout.run(untuned)
                told = read_json(folder / "metrics.json")["splits"]
                yield way, {split: both["best"] for split, both in told.items()}
            else:
                yield way, host.metrics(recipe, host.predictions(recipe))
            continue
        head = own if way.head == "own" else tuned[way.head]
        if way.bias == SIDES[side] and head is own:
            yield way, dict(own.metrics)
            continue
        pair = [tuned[way.bias]] if way.bias != "mean" else [tuned[s] for s in SIDES]
        biases = weighted_mean([v.biases for v in pair], [1 / len(pair)] * len(pair))
        yield way, host.metrics(recipe, host.predictions(recipe, biases, head.head))


def _values(project: Project, couple: Couple, status: dict) -> dict[str, Values]:
    """What the runs of a couple tuned, those that ended well: by side."""
    return {
        name: values_of(project.layout, recipe)
        for name, recipe in zip(SIDES, couple.tuned, strict=True)
        if status[recipe.digest][0] == "ok"
    }


def _result(merged: Merged, place: dict, found: dict, status: dict) -> dict[str, Any]:
    """A place with its value, or with what became of the runs that it needs."""
    side, runs = _behind(merged, place)
    value = found.get((place["seed"], place["bias"], place["head"], side, place["split"]))
    value = value if value is not None and math.isfinite(value) else None
    bad = [status[r.digest] for r in runs if status[r.digest][0] != "ok"]
    state, reason = bad[0] if bad else ("ok", "")
    return {**place, "value": value, "status": state, "reason": reason}


def _behind(merged: Merged, place: dict) -> tuple[int, list[Recipe]]:
    """The side of a result's task, and the runs that it is made from."""
    couple = next(c for c in merged.couples if c.tuned[0].seed == place["seed"])
    side = [r.task["name"] for r in couple.tuned].index(place["task"])
    return side, needed(couple, Way(place["bias"], place["head"]), side)


def _sums(project: Project, merged: Merged) -> dict[str, str | None]:
    """SHA-256 of the checksums of each run that a file is made from; None for one left out."""
    sums = {}
    for recipe in merged.recipes():
        path = project.layout.run(recipe) / CHECKSUMS
        sums[recipe.digest] = sha256(path) if path.is_file() else None
    return sums


def _angles(project: Project, merged: Merged, terms: Any, status: dict) -> list[dict[str, Any]]:
    """How far apart the biases of the two tasks point, for each seed that has both."""
    found = []
    for couple in merged.couples:
        values = _values(project, couple, status)
        if len(values) == 2:
            told = between(*(values[side] for side in SIDES), terms)
            found.append({"seed": couple.tuned[0].seed, **told})
    return found


def merge_flaw(project: Project, path: Path, merged: Merged) -> str | None:
    """What is wrong with a file of results; None when it is whole and of these runs as they are.

    Angles are computed again; metrics of a run's own biases and head are held against the run's.
    """
    try:
        written = read_json(path)
        facts = [{key: row[key] for key in FACTS} for row in written["results"]]
        if written["version"] != MERGE_VERSION or facts != places(merged):
            return "not of the runs that its name says"
        if written["runs"] != _sums(project, merged):
            return "made from other runs than are here now"
        status = {r.digest: _status(project, r) for r in merged.recipes()}
        if written["angles"] != _angles(project, merged, written["terms"], status):
            return "its angles are not those of its runs' biases"
        for row in written["results"]:
            if _contradicts(project, merged, row, status):
                where = f"{row['task']}, {row['split']}, seed {row['seed']}"
                return f"its metric of {row['bias']}/{row['head']} on {where} is not the run's"
    except UserError as error:
        return "missing" if not path.is_file() else str(error).removeprefix(f"{path}: ")
    except (KeyError, TypeError, AttributeError):
        return "damaged (not of merged biases)"
    return None


def _contradicts(project: Project, merged: Merged, row: dict, status: dict) -> bool:
    """Whether a result is not what a run recorded, where it should be, or no fraction at all."""
    side, runs = _behind(merged, row)
    if any(status[r.digest][0] != "ok" for r in runs):
        return row["status"] == "ok" or row["value"] is not None
    if row["status"] != "ok" or not (row["value"] is None or -1 <= row["value"] <= 1):
        return True
    if len({r.digest for r in runs}) != 1 or row["bias"] not in ("none", SIDES[side]):
        return False  # it was measured here alone: no run has recorded it
    told = read_json(project.layout.run(runs[0]) / "metrics.json")["splits"]
    return row["value"] != told[row["split"]]["best"]
