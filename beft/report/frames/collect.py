"""Read the runs of a study into the frames of its reports."""

from collections.abc import Mapping
from itertools import product
from typing import Any

from beft.report.frames import merges, scores, timings, uncertainty
from beft.report.frames.columns import COLUMNS
from beft.report.frames.guessing import Guesses, Rates, is_constant
from beft.report.frames.schema import Frames, frame
from beft.store import data_checks
from beft.store.inputs import Inputs
from beft.store.precision import recorded
from beft.store.run_folder import Run, open_run
from beft.store.run_format import Metrics
from beft.study.fields import REGIMES
from beft.study.project import Project
from beft.study.recipe import Recipe
from beft.tasks.words import Plain

FACTS = ("runs", "evaluations", "history", "problems", "provenance")  # of each run alone
Facts = dict[str, list[Any]]  # name of a frame -> the rows that a run adds to it


def collect(project: Project, known: Mapping[str, Facts] | None = None) -> Frames:
    """Read every run of a study, finished or not.

    A run that is not there is `missing`, with the reason of its last attempt where one was noted
    (`failed`); one that its pack left out is `skipped`.

    Args:
        known: `facts_of` every run, by digest, where they were read before.
    """
    if known is None:
        inputs, guesses = Inputs(), Guesses(project.layout)
        known = {
            r.digest: facts_of(project, listed(project, r, inputs), guesses)
            for r in project.recipes
        }
    facts = [known[recipe.digest] for recipe in project.recipes]
    tables = {
        name: frame(name, (row for fact in facts for row in fact.get(name, [])))
        for name in COLUMNS
        if name in FACTS
    }
    return Frames(
        **tables,
        **scores.collect(project, tables["runs"]),
        **uncertainty.collect(project, tables["runs"], tables["evaluations"]),
        timings=timings.collect(project),
        merges=merges.collect(project),
        settings=settings(project),
    )


def listed(project: Project, recipe: Recipe, inputs: Inputs) -> Run:
    """A run that is judged by the manifest of its pack, too."""
    layout = project.layout
    return open_run(layout, recipe, layout.pack(project.pack_of(recipe)), inputs=inputs)


def facts_of(project: Project, found: Run, guesses: Guesses) -> Facts:
    """The rows that a run adds to the frames of `FACTS`.

    Args:
        guesses: given to all runs of a project, so that each split is read once.
    """
    recipe, training = found.recipe, found.recipe.training
    run = {
        "study": project.name,
        "model": recipe.model["alias"],
        "task": recipe.task["name"],
        "regime": recipe.regime,
        "technique": recipe.technique,
        "seed": recipe.seed,
        "learning_rate": training["learning_rate"],
        "epochs": training["epochs"],
        "metric": recipe.task["metric"],
        "digest": recipe.digest,
    }
    problem = {"digest": recipe.digest, "status": found.status, "reason": found.reason}
    if found.unsound is not None:
        return {"runs": [{**run, "status": found.status}], "problems": [problem]}
    metrics, origin = found.metrics, found.provenance
    split, rates = recipe.task["validation"][0], guesses.of(recipe)
    first = metrics["splits"][split]
    run |= {key: metrics[key] for key in ("train_examples", "trainable_params", "status")}
    run |= {"trainable_percent": metrics["trainable_percent"], **first}
    run |= {"train_seconds": origin["seconds"], "peak_memory_mb": origin["peak_memory_mb"]}
    run |= {"guessing": rates.get((split, run["metric"]))}
    run |= {"constant": is_constant(found, split) if found.status == "ok" else None}
    facts: Facts = {
        "runs": [run],
        "evaluations": _evaluations(recipe, metrics, rates, origin.get("demonstrations", {})),
        "history": _history(found),
        "provenance": [
            {
                "digest": recipe.digest,
                **origin,
                **origin["versions"],
                "precision": recorded(origin.get("precision")),
                "precision_setting": training["precision"],
                "added_biases": metrics.get("added_biases", 0),
            }
        ],
    }
    if found.status != "ok":
        facts["problems"] = [problem]
    return facts


def _evaluations(
    recipe: Recipe, metrics: Metrics, rates: Rates, shown: Plain
) -> list[dict[str, object]]:
    """One row per split and metric, the reported metric of a split before its others.

    Args:
        rates: what guessing gives.
        shown: split -> mean and least number of demonstrations, of in-context learning.
    """
    counts = {
        split: {"demonstrations": own["mean"], "least_demonstrations": own["least"]}
        for split, own in shown.items()
    }
    return [
        {
            **{"digest": recipe.digest, "split": split, "metric": name, **both},
            **{"guessing": rates.get((split, name)), **counts.get(split, {})},
        }
        for split, reported in metrics["splits"].items()
        for name, both in {
            metrics["metric"]: reported,
            **metrics.get("other_metrics", {}).get(split, {}),
        }.items()
    ]


def _history(run: Run) -> list[tuple]:
    """Rows in the order of the frame's columns: there are too many for a dictionary each."""
    digest, metric = run.recipe.digest, run.recipe.task["metric"]
    return [
        (digest, epoch, loss, split, metric, value)
        for epoch, loss, values in run.history()
        for split, value in values.items()
    ]


def settings(project: Project) -> dict[str, object]:
    """Describe the resolved study; reports show models, tasks and so on in its order."""
    study, params = project.study, project.params
    models = dict.fromkeys(r.model["alias"] for r in project.recipes)
    tasks = {r.task["name"]: r.task for r in reversed(project.recipes)}
    return {
        "study": project.name,
        "description": study.description,
        "models": {
            m: params.models[m].model_dump(exclude_none=True, exclude={"parameters"})
            for m in models
        },
        "tasks": {
            t: {
                **params.tasks[t].model_dump(exclude_none=True, exclude_defaults=True),
                "metric": tasks[t]["metric"],
                "validation": tasks[t]["validation"],
            }
            for t in dict.fromkeys(r.task["name"] for r in project.recipes)
        },
        "regimes": [r for r in REGIMES if r in {recipe.regime for recipe in project.recipes}],
        "techniques": list(dict.fromkeys(r.technique for r in project.recipes)),
        "seeds": list(dict.fromkeys(r.seed for r in project.recipes)),
        "held_out": _held_out(project),
        "training": params.training.model_dump(exclude_none=True),
        "overrides": _overrides(project),
        "selectors": list(study.selectors),
        "skip_inert": study.skip_inert,
        **({"odd_data": odd} if (odd := _odd_data(project)) else {}),
        "tables": list(study.tables),
        "figures": list(study.figures),
        "scopes": _scopes(project),
    }


def _scopes(project: Project) -> dict[str, list[list[str]]]:
    """Of a union: table or figure -> every model, task and regime that it is about."""
    there = {tuple(r.cell().split("/")) for r in project.recipes}
    found = {}
    for name, selections in project.study.scopes.items():
        places = (p for s in selections for p in product(s.models, s.tasks, s.regimes))
        found[name] = [list(place) for place in dict.fromkeys(places) if place in there]
    return found


def _odd_data(project: Project) -> dict[str, str]:
    """What is odd about the rows of local files, in one line for each task."""
    folder, known = project.layout.folder("sources"), project.sources()
    own = {task: folder / key for key, task in known.items() if project.params.tasks[task].path}
    return {task: odd for task, place in own.items() if (odd := data_checks.told(place))}


def _overrides(project: Project) -> dict[str, object]:
    """The training settings of the study, or of each of its selections where they differ."""
    chosen = project.study.selections()
    every = [s.training.model_dump(exclude_none=True) for s in chosen]
    if all(training == every[0] for training in every):
        return every[0]
    return {
        f"selection {number} ({', '.join(s.models)}; {', '.join(s.tasks)})": training
        for number, (s, training) in enumerate(zip(chosen, every, strict=True), 1)
        if training
    }


def _held_out(project: Project) -> dict[str, object]:
    """How many of the runs that train chose their epoch on examples held out from training."""
    trained = [r.training for r in project.recipes if r.training["epochs"]]
    shares = [t["held_out"] for t in trained if "held_out" in t]
    return {"shares": sorted(set(shares)), "runs": len(shares), "trained": len(trained)}
