"""Resolves what params.yaml, a study and the table of tasks say about one run."""

from dataclasses import replace

from beft.errors import UserError
from beft.study import params as P
from beft.study.fields import nearest
from beft.study.recipe import compares_pairs, fits_head
from beft.study.settings import Overrides, Training
from beft.study.studies import Product
from beft.tasks import TABLE, Task
from beft.tasks.prompts import Prompt, classification
from beft.tasks.words import Plain
from beft.techniques import TECHNIQUES
from beft.techniques.base import FITTED, select_none

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

# Settings that a recipe holds only where they differ from this: recipes without them were made
# before they existed, and keep their digests.
UNLESS: Plain = {
    "held_out": 0,
    "pooling": "first",
    "evaluations": "each_epoch",
    "class_weights": "none",
}
_OF_ENCODERS = {"pooling", "class_weights"}
_OF_TRAINING = {"held_out", "evaluations", "class_weights"}


def resolve_task(name: str, given: P.Task) -> Task:
    """A task: its row in the table of tasks, overridden by its definition in params.yaml.

    Raises:
        UserError: the name is not in the table and the definition is incomplete, or parts of the
            definition contradict each other.
    """
    said: Plain = {  # keyword arguments of Task
        key: tuple(value) if isinstance(value, list) else value
        for key in ("text", "label", "labels", "metric", "train", "validation")
        if (value := getattr(given, key)) is not None
    }
    if name in TABLE:
        _check_said(name, said)
        row = TABLE[name]
        if said.get("labels", row.labels) != row.labels:
            row = replace(row, hub_labels=())
        task = replace(row, **said)
    elif given.demo:
        known = [n for n in TABLE if n.startswith("demo_")]
        raise UserError(f"tasks.{name}: no demo task; {nearest(name, known)}")
    else:
        missing = [key for key in ("text", "labels", "metric") if key not in said]
        if missing:
            hint = nearest(name, list(TABLE))
            raise UserError(
                f"tasks.{name}: not in the table of tasks ({hint}), so it also needs: "
                + ", ".join(missing)
            )
        task = Task(**said)
    return replace(_checked(name, task), prompt=_prompt(name, task, given))


def _check_said(name: str, said: Plain) -> None:
    """A row of the table without an encoder view has a fixed prompt, so its keys are fixed."""
    row = TABLE[name]
    if row.text:
        return
    fixed = ["text", "labels", "metric", *([] if row.label else ["label"])]
    for key in fixed:
        if key in said and said[key] != getattr(row, key):
            raise UserError(
                f"tasks.{name}.{key}: fixed, because this task has a prompt of its own kind; leave "
                "the key out, or describe a task under another name"
            )


def _checked(name: str, task: Task) -> Task:
    if not task.text:
        return task
    regression = task.metric in ("spearman", "pearson")
    if regression and task.labels:
        raise UserError(f"tasks.{name}: metric {task.metric} needs regression: labels: []")
    if not regression and not task.labels:
        raise UserError(f"tasks.{name}: metric {task.metric} needs classes in 'labels'")
    if task.metric == "f1" and len(task.labels) != 2:
        raise UserError(f"tasks.{name}: metric f1 needs two labels; use f1_macro for more")
    return task


def _prompt(name: str, task: Task, given: P.Task) -> Prompt | None:
    """The prompt in params.yaml, else the table's where its wording fits the task's columns."""
    row = TABLE.get(name)
    if (own := given.prompt) is not None:
        if not task.text or not task.labels:
            raise UserError(f"tasks.{name}.prompt: this task has no classes; leave the prompt out")
        if len(own.answers) != len(task.labels):
            raise UserError(
                f"tasks.{name}.prompt.answers: {len(own.answers)} for {len(task.labels)} labels; "
                f"give one for each of {', '.join(task.labels)}"
            )
        try:
            return classification(own.template, own.passage, own.answers, (task.metric,))
        except UserError as error:
            raise UserError(f"tasks.{name}.prompt: {error}") from None
    if row is None or row.prompt is None or task.text != row.text:
        return None
    prompt = row.prompt
    if task.labels != row.labels:
        if set(task.labels) != set(row.labels):
            return None
        order = [prompt.wording["answers"][row.labels.index(label)] for label in task.labels]
        prompt = replace(prompt, wording={**prompt.wording, "answers": order})
    if given.metric is not None:
        rest = [metric for metric in prompt.metrics if metric != task.metric]
        prompt = replace(prompt, metrics=(task.metric, *rest))
    return prompt


def resolve_training(
    params: P.Params, chosen: Product, model: str, task: str, technique: str
) -> Plain:
    """The training settings that the recipe of a run holds: those that the run reads.

    Several layers may set the same key; the last one wins: params.training, params.decoder (for
    decoders), the task, the task's entry for this model, the study, the technique, the task's
    entry for this technique. So a study's learning rate is that of bias terms, and does not
    replace that of `full`, which sets its own.

    Raises:
        UserError: a setting that the run reads is set nowhere, or does not fit the task.
    """
    kind = params.models[model].kind
    definition = params.tasks[task].settings(kind)
    layers = [
        params.training,
        params.decoder if kind == "decoder" else None,
        definition,
        definition.models.get(model),
        chosen.training,
        params.techniques.get(technique),
        definition.techniques.get(technique),
    ]
    settings = {
        key: value
        for layer in layers
        if layer is not None
        for key in Overrides.model_fields
        if (value := getattr(layer, key)) is not None
    }
    prompt = resolve_task(task, params.tasks[task]).prompt if kind == "decoder" else None
    wanted = {*COMMON, *TECHNIQUES[technique].settings, *_of_decoders(prompt, technique)}
    wanted |= _unlike_defaults(params, settings, model, task, technique)
    fixed = dict(TECHNIQUES[technique].fixed) | _of_pairs(params, model, task, technique, settings)
    if not TECHNIQUES[technique].trains:
        settings |= {"learning_rate": 0.0, "epochs": 0}
    for key in sorted(wanted - set(settings) - {"dropout"}):
        raise UserError(f"{params.place('tasks', task)}: no {key} for {technique}; set it there")
    generates = prompt is not None and prompt.kind == "generation"
    if generates and settings.get("objective") == "cross_entropy_over_candidates":
        raise UserError(
            f"{params.place('tasks', task)}.decoder.objective: the answers of this task are "
            "generated, so there are no candidates; use language_model_on_answer"
        )
    every = Training(**settings).model_dump()
    own = {key: value for key, value in every.items() if key in wanted}
    for key, value in fixed.items():
        if settings.get(key, value) != value:
            raise UserError(
                f"params.yaml: tasks.{task}: {key} {settings[key]} is set, and {technique} goes "
                f"with {key} {value} only; leave {key} out"
            )
    return own | fixed


def _unlike_defaults(
    params: P.Params, settings: Plain, model: str, task: str, technique: str
) -> set[str]:
    """Those of `UNLESS` that the run reads and that are set to something else."""
    given = {name for name, default in UNLESS.items() if settings.get(name, default) != default}
    if not TECHNIQUES[technique].trains:
        fitted = fits_head(dict(TECHNIQUES[technique].fixed))
        given -= _OF_TRAINING - ({"class_weights"} if fitted else set())
    if params.models[model].kind == "decoder":
        for name in sorted(given & _OF_ENCODERS):
            raise UserError(
                f"{name}: {settings[name]}: models.{model} is a decoder, and this setting is for "
                f"encoders; set {name}: {UNLESS[name]} for decoders"
            )
    if "class_weights" in given and not resolve_task(task, params.tasks[task]).labels:
        raise UserError(
            f"class_weights: {settings['class_weights']}: tasks.{task} is a regression and has no "
            "classes; set class_weights: none for it"
        )
    return given


def _of_decoders(prompt: Prompt | None, technique: str) -> set[str]:
    """The further settings that a decoder's run reads; none for encoders, which have no prompt."""
    if prompt is None:
        return set()
    trained = {"objective"} if TECHNIQUES[technique].trains else set()
    return {"evaluated", "max_new_tokens" if prompt.kind == "generation" else "scoring"} | trained


def _of_pairs(params: P.Params, model: str, task: str, name: str, settings: Plain) -> Plain:
    """What the recipe of a run with the loss of pairs records; nothing with another loss.

    Raises:
        UserError: this loss is set, and the run has no use for it.
    """
    technique, kind = TECHNIQUES[name], params.models[model].kind
    if not compares_pairs(settings) or technique.measures:
        return {}
    problem = None
    if kind == "decoder":
        problem = f"is for encoders, and models.{model} is a decoder"
    elif not resolve_task(task, params.tasks[task]).labels:
        problem = "compares classes, and this task has values"
    elif not technique.biases_only:
        problem = f"trains biases alone, and {name} trains more"
    elif technique.select is select_none:
        problem = f"trains biases, and {name} trains none"
    elif settings["batch_size"] == 1:
        problem = "compares the examples of a batch, and batch_size is 1"
    if problem is not None:
        raise UserError(
            f"params.yaml: tasks.{task}: objective contrastive_pairs {problem}; leave it out "
            "there, or set it under 'also:' for what it fits"
        )
    return {"objective": settings["objective"], **FITTED}
