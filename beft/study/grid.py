"""Expands a study into recipes, and groups them into packs, one per job."""

from collections.abc import Iterable
from itertools import product
from pathlib import Path

from beft.errors import UserError
from beft.models.pretrained import check_checkpoint
from beft.study import params as P
from beft.study.fields import Regime, nearest
from beft.study.identity import cached_sha256, digest, model_identity, split_file
from beft.study.recipe import READING_VERSION, SOURCE_VERSION, Pack, Recipe, kind_of
from beft.study.resolve import resolve_task, resolve_training
from beft.study.studies import OF_SNAPSHOTS, Product, Study
from beft.tasks.labels import ambiguous
from beft.tasks.words import Plain
from beft.techniques import TECHNIQUES

MOST_RUNS = 100_000  # of a study; it takes some twenty seconds to list them


def grid(params: P.Params, study: Study, root: Path, study_name: str = "") -> list[Recipe]:
    """Every run of a study, in the order of its lists; relative paths start at `root`.

    Raises:
        UserError: a model, task or technique that the study names is not defined, a setting is
            missing, or a local dataset or model does not exist.
    """
    for name in params.techniques:
        if name not in TECHNIQUES:
            hint = nearest(name, list(TECHNIQUES))
            raise UserError(f"params.yaml: techniques: '{name}' unknown; {hint}")
    selections = study.selections()
    if (count := sum(_count(chosen) for chosen in selections)) > MOST_RUNS:
        raise UserError(
            f"study '{study_name}': {count} runs; a study has at most {MOST_RUNS}, so split it"
        )
    found: dict[str, Recipe] = {}
    for chosen in selections:
        _check_names(params, chosen, f"study '{study_name}'")
        sources = {t: digest(task_source(t, params.tasks[t], root)) for t in chosen.tasks}
        models = [model_source(alias, params.models[alias], root) for alias in chosen.models]
        for model, name, regime in product(models, chosen.tasks, chosen.regimes):
            task, kind = params.tasks[name], kind_of(model)
            view = _task(name, task, kind, model["alias"])
            subset = _subset(params, name, kind, regime)
            for technique in techniques_of(chosen):
                training = resolve_training(params, chosen, model["alias"], name, technique)
                for seed in chosen.seeds:
                    recipe = Recipe(model, view, sources[name], subset, technique, seed, training)
                    found.setdefault(recipe.digest, recipe)
    return list(found.values())


def _count(chosen: Product) -> int:
    """Runs of a selection, before those that others select too are left out."""
    cells = len(chosen.models) * len(chosen.tasks) * len(chosen.regimes)
    return cells * len(techniques_of(chosen)) * len(chosen.seeds)


def _check_names(params: P.Params, chosen: Product, where: str) -> None:
    for kind, names, known in (
        ("models", chosen.models, params.known("models")),
        ("tasks", chosen.tasks, params.known("tasks")),
        ("techniques", chosen.techniques, TECHNIQUES),
    ):
        for name in names:
            if name not in known:
                raise UserError(f"{where}: {kind}: '{name}' unknown; {nearest(name, list(known))}")
    for model, technique in product(chosen.models, chosen.techniques):
        kind = params.models[model].kind
        if kind not in TECHNIQUES[technique].kinds:
            fit = [t for t in chosen.techniques if kind in TECHNIQUES[t].kinds]
            raise UserError(
                f"{where}: techniques: '{technique}' is not for {kind}s, and models.{model} is "
                f"one; of these it can have {', '.join(fit) or 'none'}: select them in 'also:'"
            )


def techniques_of(chosen: Product) -> list[str]:
    """A selection's techniques, then those whose runs its selectors need."""
    needed = []
    if any(selector in OF_SNAPSHOTS for selector in chosen.selectors):
        needed.append("all_biases")
    if chosen.selectors:
        needed.append("untuned")  # gradients, for Fisher information and for inert terms
    return list(dict.fromkeys([*chosen.techniques, *needed]))


def added_for_selectors(recipes: Iterable[Recipe], study: Study) -> list[Recipe]:
    """The runs that no list of techniques names: selectors need them."""
    named = {
        (*cell, technique)
        for chosen in study.selections()
        for cell in product(chosen.models, chosen.tasks, chosen.regimes)
        for technique in chosen.techniques
    }
    return [
        r for r in recipes if (r.model["alias"], r.task["name"], r.regime, r.technique) not in named
    ]


def packs(recipes: Iterable[Recipe], study: Study) -> list[Pack]:
    """Groups runs into jobs: one per model, task, regime and (unless fused) technique."""
    groups: dict[tuple[str, str], list[Recipe]] = {}
    for recipe in recipes:
        technique = "" if study.fuse_techniques else recipe.technique
        groups.setdefault((recipe.cell(), technique), []).append(recipe)
    return [Pack(tuple(group), study.skip_inert) for group in groups.values()]


def model_source(alias: str, model: P.Model, root: Path) -> Plain:
    """The identity of an alias's weights; its digest names the marker in data/models."""
    sites = model.sites.model_dump() if model.sites else None
    kind = {} if model.kind == "encoder" else {"kind": model.kind}  # encoders came first
    if model.path is not None:
        path = (root / model.path).resolve()
        if not path.is_dir():
            raise UserError(f"models.{alias}.path: {path} is not a directory")
        check_checkpoint(path, f"models.{alias}: {path}")  # else files without identity decide
        return {"alias": alias, "content": model_identity(path), "sites": sites, **kind}
    return {
        "alias": alias,
        "hub": model.hub,
        "revision": model.revision,
        "sha256": model.sha256,
        "sites": sites,
        **kind,
    }


def task_source(name: str, task: P.Task, root: Path) -> Plain:
    """The identity of a task's dataset; its digest names the folder in data/sources."""
    spec = resolve_task(name, task)
    splits = [spec.train, *spec.validation]
    version = (
        SOURCE_VERSION if task.path is None and not ambiguous(spec.labels) else READING_VERSION
    )
    source: Plain = {"version": version, "label": spec.label, "splits": splits}
    source |= {"labels": list(spec.labels), "text": list(spec.reads())}
    if task.demo:
        from beft.tasks.demo.generate import DEMO_VERSION

        return {**source, "demo": name, "revision": DEMO_VERSION}
    if task.path is not None:
        path = (root / task.path).resolve()
        if not path.is_dir():
            advice = "; name the folder that it lies in" if path.is_file() else ""
            raise UserError(f"tasks.{name}.path: {path} is not a directory{advice}")
        return {**source, "content": {s: cached_sha256(split_file(path, s)) for s in splits}}
    return {**source, "hub": task.hub, "config": task.config, "revision": task.revision}


def _subset(params: P.Params, name: str, kind: str, regime: Regime) -> Plain:
    """The `subset` of a recipe: the regime and its size."""
    task = params.tasks[name]
    size = "all" if regime == "all" else task.settings(kind).regimes.get(regime)
    if size is None:
        where = params.place("tasks", name)
        raise UserError(f"{where}.regimes: no size for '{regime}', which is used")
    return {"regime": regime, "size": size, "stratify": task.stratify}


def _task(name: str, given: P.Task, kind: str, alias: str) -> Plain:
    """The `task` of a recipe: how rows become examples for an encoder or for a decoder."""
    task = resolve_task(name, given)
    if kind == "encoder":
        if not task.text:
            raise UserError(
                f"tasks.{name} has no view for encoders, and models.{alias} is one; select this "
                "task for decoders only"
            )
        return {"name": name, **task.to_dict()}
    if task.prompt is None:
        raise UserError(
            f"tasks.{name} has no prompt, and models.{alias} is a decoder; give it "
            f"'prompt:' with template, passage and answers"
        )
    view = task.prompt_dict()
    return {"name": name, **view, "metric": view["metrics"][0]}
