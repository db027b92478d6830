"""What params.yaml and a study say of one run, resolved: its task, and its training settings."""

from dataclasses import replace
from typing import Any

from beft.errors import UserError
from beft.study import params as P
from beft.study import studies
from beft.study.fields import nearest
from beft.tasks import TABLE, Task
from beft.tasks.prompts import Prompt, classification
from beft.techniques import TECHNIQUES

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


def resolve_task(name: str, given: P.Task) -> Task:
    """The task of that name: the table's row with what params.yaml says on top.

    Raises:
        UserError: for a name that is not in the table and is not fully described, and for what
            does not fit together.
    """
    said = {
        key: tuple(value) if isinstance(value, list) else value
        for key in ("text", "label", "labels", "metric", "train", "validation")
        if (value := getattr(given, key)) is not None
    }
    if name in TABLE:
        _check_said(name, said)
        task = replace(TABLE[name], **said)
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


def _check_said(name: str, said: dict[str, Any]) -> None:
    """What cannot be said of a row of the table that has no encoder view."""
    row = TABLE[name]
    if row.text:
        return
    fixed = ["text", "labels", "metric", *([] if row.label else ["label"])]
    for key in fixed:
        if key in said and said[key] != getattr(row, key):
            raise UserError(
                f"tasks.{name}.{key}: fixed, because this task is asked in its own way; leave it "
                "out, or describe a task of your own under another name"
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
    """How decoders are asked: as params.yaml says, else as the table does where that fits."""
    row = TABLE.get(name)
    if (own := getattr(given, "prompt", None)) is not None:
        if not task.text or not task.labels:
            raise UserError(f"tasks.{name}.prompt: is for tasks with classes, which this is not")
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
    view = resolve_task(task, params.tasks[task]).prompt if kind == "decoder" else None
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


def _asked(view: Prompt | None, technique: str) -> set[str]:
    """The settings that a decoder's recipe reads besides those of every recipe."""
    if view is None:
        return set()
    trains = {"objective"} if TECHNIQUES[technique].trains else set()
    answers = "max_new_tokens" if view.kind == "generation" else "scoring"
    return {"evaluated", answers} | trains
