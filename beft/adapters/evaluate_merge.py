"""Evaluate the biases of two tasks, and their mean, on both tasks (Table 3)."""

import math
from collections.abc import Callable, Iterator, Mapping

from beft.adapters.host import Host, Values, values_of
from beft.adapters.merge import weighted_mean
from beft.adapters.merge_results import (
    SIDES,
    Runs,
    Way,
    angles_of,
    check_runs,
    checksums,
    facts_of_results,
    needed,
    open_runs,
    sources,
    ways,
)
from beft.code_identity import code_digest
from beft.engine.parts import trained_terms
from beft.models.decoder import Decoder
from beft.store.files import to_json
from beft.study.measurements import MERGE_VERSION, Couple, Merged
from beft.study.project import Project
from beft.tasks.words import Plain
from beft.training.inputs import current_inputs
from beft.training.shared import Loader


def render_merge(
    project: Project,
    merged: Merged,
    device: str = "cpu",
    progress: Callable[[int, int, str], None] = lambda done, total, text: None,
) -> bytes:
    """Answers both tasks with every bias and head of `ways`, for each seed; returns JSON.

    Biases and heads are those of the best epoch.

    Raises:
        UserError: when a run or an input is missing or damaged, or a run's own biases and head
            do not answer as the run did.
    """
    runs = open_runs(project, merged)
    check_runs(runs)
    found: dict[tuple, float | None] = {}
    decoders: dict[object, Decoder] = {}
    done, total = 0, 2 * len(merged.couples)
    for side in (0, 1):
        recipe = merged.couples[0].tuned[side]
        current_inputs(project.layout, recipe)
        host = Host(Loader(project.layout, device, decoders), recipe)
        for couple in merged.couples:
            seed = couple.tuned[0].seed
            progress(done, total, f"{recipe.task['name']}, seed {seed}")
            for way, scores in _answers(runs, host, couple, side):
                found |= {(seed, way.bias, way.head, side, s): v for s, v in scores.items()}
            done += 1
    terms = trained_terms(host.model, recipe)
    content = {
        "version": MERGE_VERSION,
        "code": code_digest(),
        "terms": list(terms),
        "runs": checksums(runs),
        "results": [_result(merged, facts, found, runs) for facts in facts_of_results(merged)],
        "angles": angles_of(merged, terms, runs),
    }
    return to_json(content)


def _answers(
    runs: Runs, host: Host, couple: Couple, side: int
) -> Iterator[tuple[Way, Mapping[str, float | None]]]:
    """The metric of each way whose runs ended well, on each validation split."""
    recipe, tuned = couple.tuned[side], _values(couple, runs)
    if SIDES[side] in tuned:
        host.check(recipe, tuned[SIDES[side]])
    for way in ways(couple, side):
        if any(runs[r.digest].status != "ok" for r in needed(couple, way, side)):
            continue
        if way.bias == "none":
            untuned = couple.untuned[side]
            if untuned is not None:
                told = runs[untuned.digest].metrics["splits"]
                yield way, {split: both["best"] for split, both in told.items()}
            else:
                yield way, host.metrics(recipe, host.predictions(recipe))
            continue
        head = SIDES[side] if way.head == "own" else way.head
        if way.bias == head == SIDES[side]:
            yield way, tuned[head].metrics
            continue
        pair = [tuned[way.bias]] if way.bias != "mean" else [tuned[s] for s in SIDES]
        biases = weighted_mean([v.biases for v in pair], [1 / len(pair)] * len(pair))
        yield way, host.metrics(recipe, host.predictions(recipe, biases, tuned[head].head))


def _values(couple: Couple, runs: Runs) -> dict[str, Values]:
    """The values of the couple's runs that count, by side."""
    tuned = (runs[recipe.digest] for recipe in couple.tuned)
    return {
        name: values_of(run) for name, run in zip(SIDES, tuned, strict=True) if run.status == "ok"
    }


def _result(merged: Merged, facts: dict, found: dict, runs: Runs) -> Plain:
    """A result: its facts, and its value or what became of the runs that it needs."""
    side, recipes = sources(merged, facts)
    value = found.get((facts["seed"], facts["bias"], facts["head"], side, facts["split"]))
    value = value if value is not None and math.isfinite(value) else None
    bad = [run for r in recipes if (run := runs[r.digest]).status != "ok"]
    status, reason = (bad[0].status, bad[0].reason) if bad else ("ok", "")
    return {**facts, "value": value, "status": status, "reason": reason}
