"""Recipes: one fully resolved run each, its digest, and the grid that a study spans."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

from beft import tasks
from beft.errors import UserError
from beft.study import params as P
from beft.study import studies
from beft.study.identity import model_identity, split_identity
from beft.techniques import TECHNIQUES

RECIPE_VERSION = 2  # bumped when the same recipe would give other numbers (beft/code_identity.py)
SOURCE_VERSION = 1  # bumped when the same dataset would be normalised differently
SUBSET_VERSION = 1  # bumped when the same rows would be drawn differently

HELD_OUT = "held_out"  # the part of a training subset that chooses the epoch, as a split

# The training settings that every recipe reads.
COMMON = (
    "learning_rate",
    "epochs",
    "batch_size",
    "max_length",
    "weight_decay",
    "max_grad_norm",
    "dropout",
    "precision",
)


def digest(data: Any) -> str:
    """16 hexadecimal digits of the SHA-256 of the canonical JSON of plain data."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Recipe:
    """One fully resolved run. Equal content means equal digest means the same folder.

    Attributes:
        model: alias, and where its weights come from (`hub` and `revision`, or content of a path).
        task: name, and how its rows become examples (`tasks.Task.to_dict`).
        source: digest of the dataset's source.
        subset: regime, its size, and whether it is stratified.
        technique: a name of `beft.techniques`.
        seed: of the subset, the head, the order of examples, dropout and random masks.
        training: every setting of the fine-tune (`params.Training`).
    """

    model: dict[str, Any]
    task: dict[str, Any]
    source: str
    subset: dict[str, Any]
    technique: str
    seed: int
    training: dict[str, Any]
    version: int = RECIPE_VERSION

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as it stands in recipe.json."""
        return {
            "version": self.version,
            "model": self.model,
            "task": self.task,
            "source": self.source,
            "subset": self.subset,
            "technique": self.technique,
            "seed": self.seed,
            "training": self.training,
        }

    @cached_property
    def digest(self) -> str:
        """The recipe's identity."""
        return digest(self.to_dict())

    @property
    def regime(self) -> str:
        return self.subset["regime"]

    def cell(self) -> str:
        """`model/task/regime`, the part of every path that packs and scores share."""
        return f"{self.model['alias']}/{self.task['name']}/{self.regime}"

    def folder(self) -> str:
        """The run's folder below `data/runs`."""
        return f"{self.cell()}/{self.technique}/seed-{self.seed}/{self.digest}"

    def splits(self) -> list[str]:
        """What it is evaluated on after each epoch; the first of them chooses the best epoch."""
        return [HELD_OUT] * ("held_out" in self.training) + self.task["validation"]

    def subset_path(self) -> str:
        """The subset's index file below `data/subsets`."""
        name = self.task["name"]
        key = digest([SUBSET_VERSION, name, self.source, self.subset, self.seed])
        return f"{name}/{self.regime}/seed-{self.seed}/{key}.parquet"

    def source_path(self) -> str:
        """The dataset's folder below `data/sources`."""
        return f"{self.task['name']}/{self.source}"

    def model_path(self) -> str:
        """The model's marker below `data/models`: the declaration that was fetched."""
        return f"{self.model['alias']}/{digest(self.model)}.json"


@dataclass(frozen=True)
class Pack:
    """Runs that one job trains on one frozen model.

    Attributes:
        recipes: all of one (model, task, regime).
        skip_inert: leave out runs of terms that turn out inert.
    """

    recipes: tuple[Recipe, ...]
    skip_inert: bool

    def may_skip(self, recipe: Recipe) -> bool:
        """Whether a run may be left out, should its term turn out inert."""
        return self.skip_inert and TECHNIQUES[recipe.technique].term in ("q", "k", "v")

    def manifest(self) -> str:
        """The pack's manifest below `data/packs`, named by the digests of the runs it covers."""
        key = digest([self.skip_inert, sorted(r.digest for r in self.recipes)])
        return f"{self.recipes[0].cell()}/{key}.json"


def from_dict(data: dict[str, Any]) -> Recipe:
    """The recipe that `to_dict` wrote."""
    return Recipe(**data)


def grid(params: P.Params, study: studies.Study, root: Path, study_name: str = "") -> list[Recipe]:
    """Every run of a study, in the study's order.

    Args:
        params: definitions.
        study: selection.
        root: folder that relative `path:` settings are relative to.
        study_name: for messages.

    Raises:
        UserError: for a model, task or technique that params.yaml does not define, a setting
            that is missing, or a local source that is not there.
    """
    for name in params.techniques:
        if name not in TECHNIQUES:
            hint = P.nearest(name, list(TECHNIQUES))
            raise UserError(f"params.yaml: techniques: '{name}' unknown; {hint}")
    found: dict[str, Recipe] = {}
    for chosen in study.selections():
        _check_names(params, chosen, f"study '{study_name}'")
        models = {alias: _model(alias, params.models[alias], root) for alias in chosen.models}
        sources = {t: task_source(t, params.tasks[t], root) for t in chosen.tasks}
        for model, task, regime in product(chosen.models, chosen.tasks, chosen.regimes):
            names = techniques_of(chosen)
            for technique, seed in product(names, chosen.seeds):
                recipe = _recipe(
                    params, chosen, models[model], task, sources[task], regime, technique, seed
                )
                found.setdefault(recipe.digest, recipe)
    return list(found.values())


def _check_names(params: P.Params, chosen: studies.Selection, where: str) -> None:
    for kind, names, known in (
        ("models", chosen.models, params.models),
        ("tasks", chosen.tasks, params.tasks),
        ("techniques", chosen.techniques, TECHNIQUES),
    ):
        for name in names:
            if name not in known:
                raise UserError(
                    f"{where}: {kind}: '{name}' unknown; {P.nearest(name, list(known))}"
                )
    for model, technique in product(chosen.models, chosen.techniques):
        kind = params.models[model].kind
        if kind not in TECHNIQUES[technique].kinds:
            fit = [t for t in chosen.techniques if kind in TECHNIQUES[t].kinds]
            raise UserError(
                f"{where}: techniques: '{technique}' is not for {kind}s, and models.{model} is "
                f"one; of these it can have {', '.join(fit) or 'none'}: select them in 'also:'"
            )


def techniques_of(chosen: studies.Selection) -> list[str]:
    """A selection's techniques, and those whose runs its selectors need."""
    needed = []
    if any(s in ("projection", "projection_printed", "magnitude") for s in chosen.selectors):
        needed.append("all_biases")
    if chosen.selectors:
        needed.append("untuned")  # Fisher, and the measurement of inert terms
    return list(dict.fromkeys([*chosen.techniques, *needed]))


def packs(recipes: Iterable[Recipe], study: studies.Study) -> list[Pack]:
    """Groups runs into jobs: all seeds of a (model, task, regime, technique), or techniques too."""
    groups: dict[tuple, list[Recipe]] = {}
    for recipe in recipes:
        own = "" if study.fuse_techniques else recipe.technique
        groups.setdefault((recipe.cell(), own), []).append(recipe)
    return [Pack(tuple(group), study.skip_inert) for group in groups.values()]


def _model(alias: str, model: P.Model, root: Path) -> dict[str, Any]:
    sites = model.sites.model_dump() if model.sites else None
    kind = {} if model.kind == "encoder" else {"kind": model.kind}  # encoders came first
    if model.path is not None:
        path = (root / model.path).resolve()
        if not path.is_dir():
            raise UserError(f"models.{alias}.path: {path} is not a directory")
        return {"alias": alias, "content": model_identity(path), "sites": sites, **kind}
    return {
        "alias": alias,
        "hub": model.hub,
        "revision": model.revision,
        "sha256": model.sha256,
        "sites": sites,
        **kind,
    }


def task_source(name: str, task: P.Task, root: Path) -> dict[str, Any]:
    """What identifies a task's dataset; its digest names the folder in data/sources."""
    spec = tasks.resolve(name, task)
    splits = [spec.train, *spec.validation]
    source: dict[str, Any] = {"version": SOURCE_VERSION, "label": spec.label, "splits": splits}
    source |= {"labels": list(spec.labels), "text": list(spec.reads())}
    if task.demo:
        from beft.tasks.demo.generate import DEMO_VERSION

        return {**source, "demo": name, "revision": DEMO_VERSION}
    if task.path is not None:
        path = (root / task.path).resolve()
        if not path.is_dir():
            raise UserError(f"tasks.{name}.path: {path} is not a directory")
        return {**source, "content": {s: split_identity(path, s) for s in splits}}
    return {**source, "hub": task.hub, "config": task.config, "revision": task.revision}


def _recipe(params, chosen, model, name, source, regime, technique, seed) -> Recipe:
    task = params.tasks[name]
    kind = kind_of(model)
    view = _task(name, task, kind, model["alias"])
    training = resolve_training(params, chosen, model["alias"], name, technique)
    regimes = task.of(kind).regimes
    size = regimes.get(regime, "all") if regime != "all" else "all"
    if regime != "all" and regime not in regimes:
        raise UserError(f"params.yaml: tasks.{name}.regimes: no size for '{regime}', which is used")
    return Recipe(
        model=model,
        task=view,
        source=digest(source),
        subset={"regime": regime, "size": size, "stratify": task.stratify},
        technique=technique,
        seed=seed,
        training=training,
    )


def kind_of(model: dict[str, Any]) -> str:
    """Whether a recipe's model is an `encoder` or a `decoder`."""
    return model.get("kind", "encoder")


def _task(name: str, given: P.Task, kind: str, alias: str) -> dict[str, Any]:
    """The view of a task that models of this kind have."""
    task = tasks.resolve(name, given)
    if kind == "encoder":
        if not task.text:
            raise UserError(
                f"tasks.{name} asks for text, not for a class, and models.{alias} is an encoder; "
                "select it for decoders"
            )
        return {"name": name, **task.to_dict()}
    if task.prompt is None:
        raise UserError(
            f"tasks.{name} has no prompt, and models.{alias} is a decoder; give it "
            f"'prompt:' with template, passage and answers"
        )
    view = task.prompt_dict()
    return {"name": name, **view, "metric": view["metrics"][0]}


def resolve_training(
    params: P.Params, chosen: studies.Selection, model: str, task: str, technique: str
) -> dict[str, Any]:
    """The settings of one fine-tune, those that its recipe reads (`params.Training`).

    The later wins: params.training, params.decoder for decoders, the task, the task's own setting
    for this model, the study, the technique, the task's own setting for this technique. A study's
    rate is thus one for bias terms; it does not become that of `full`, which has its own.
    """
    kind = params.models[model].kind
    definition = params.tasks[task].of(kind)
    layers = [
        params.training,
        params.decoder if kind == "decoder" else None,
        definition,
        definition.models.get(model),
        chosen.training,
        params.techniques.get(technique),
        definition.techniques.get(technique),
    ]
    settings: dict[str, Any] = {}
    for layer in filter(None, layers):
        for key in P.Overrides.model_fields:
            if (value := getattr(layer, key)) is not None:
                settings[key] = value
    view = tasks.resolve(task, params.tasks[task]).prompt if kind == "decoder" else None
    wanted = {*COMMON, *TECHNIQUES[technique].settings, *_asked(view, technique)}
    if not TECHNIQUES[technique].trains:
        settings |= {"learning_rate": 0.0, "epochs": 0}
    elif settings.get("held_out"):
        wanted |= {"held_out"}
    for key in sorted(wanted - set(settings) - {"dropout"}):
        raise UserError(f"params.yaml: tasks.{task}: no {key} for {technique}; set it there")
    if view and view.kind == "generation" and settings.get("objective") == P.OBJECTIVES[0]:
        raise UserError(
            f"params.yaml: tasks.{task}.decoder.objective: answers are written, so there are no "
            f"candidates; use {P.OBJECTIVES[1]}"
        )
    all_of_them = P.Training(**settings).model_dump()
    return {key: value for key, value in all_of_them.items() if key in wanted}


def _asked(view: tasks.Prompt | None, technique: str) -> set[str]:
    """The settings that a decoder's recipe reads besides those of every recipe."""
    if view is None:
        return set()
    trains = {"objective"} if TECHNIQUES[technique].trains else set()
    answers = "max_new_tokens" if view.kind == "generation" else "scoring"
    return {"evaluated", answers} | trains
