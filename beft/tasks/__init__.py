"""The table of tasks: columns, labels, metric and splits of each, in hub column layout."""

from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from beft.errors import UserError
from beft.study import params
from beft.tasks.prompts import Prompt, classification
from beft.tasks.wordings import PROMPTS
from beft.tasks.words import fields


@dataclass(frozen=True)
class Task:
    """How a dataset becomes examples: of an encoder (its text), of a decoder (its prompt).

    Attributes:
        text: one or two columns or templates ("{word}: {sentence1}"): the encoder's segments; empty
            for a task that only decoders can do.
        labels: class names in order; empty for regression, and where there are no classes.
        metric: the reported one of encoders, see `beft.tasks.metrics.classes`; `prompt` has those
            of decoders.
        label: label column; integers 0..len(labels)-1, or a number for regression; empty where
            there is none.
        train: split that is trained on.
        validation: splits that are evaluated; the first one chooses the best epoch.
        prompt: how decoders are asked; None for a task that only encoders can do.
    """

    text: tuple[str, ...]
    labels: tuple[str, ...]
    metric: str
    label: str = "label"
    train: str = "train"
    validation: tuple[str, ...] = ("validation",)
    prompt: Prompt | None = None

    @property
    def num_labels(self) -> int:
        """Outputs of the head: 1 for regression."""
        return len(self.labels) or 1

    def reads(self) -> dict[str, str]:
        """The columns that a row must have besides the label, in order, and what they hold.

        Those of both views, so that both share one source: "text", "texts" or "number"
        (`views.View.reads`).
        """
        own = dict.fromkeys((c for t in self.text for c in fields(t)), "text")
        return own if self.prompt is None else own | self.prompt.reads()

    def columns(self) -> tuple[str, ...]:
        """The columns that a row must have; the label, where there is one, is the last."""
        labels = [self.label] if self.label else []
        return tuple(dict.fromkeys([*self.reads(), *labels]))

    def to_dict(self) -> dict[str, Any]:
        """The encoder's view as plain lists and strings, as they enter a recipe."""
        return {
            "text": list(self.text),
            "labels": list(self.labels),
            "metric": self.metric,
            **self._rest(),
        }

    def prompt_dict(self) -> dict[str, Any]:
        """The decoder's view as plain data, as it enters a recipe (`prompts.view_of`).

        `label` and `labels` are in it for tasks that have them.
        """
        assert self.prompt is not None
        labels = {"labels": list(self.labels)} if self.label else {}
        return {
            "kind": self.prompt.kind,
            "metrics": list(self.prompt.metrics),
            "wording": deepcopy(dict(self.prompt.wording)),
            **labels,
            **self._rest(),
        }

    def _rest(self) -> dict[str, Any]:
        label = {"label": self.label} if self.label else {}
        return {**label, "train": self.train, "validation": list(self.validation)}


_PAIR = ("sentence1", "sentence2")

_ROWS = {
    "cola": Task(("sentence",), ("unacceptable", "acceptable"), "matthews"),
    "mnli": Task(
        ("premise", "hypothesis"),
        ("entailment", "neutral", "contradiction"),
        "accuracy",
        validation=("validation_matched", "validation_mismatched"),
    ),
    "mrpc": Task(_PAIR, ("not_equivalent", "equivalent"), "f1"),
    "qnli": Task(("question", "sentence"), ("entailment", "not_entailment"), "accuracy"),
    "qqp": Task(("question1", "question2"), ("not_duplicate", "duplicate"), "f1"),
    "rte": Task(_PAIR, ("entailment", "not_entailment"), "accuracy"),
    "sst2": Task(("sentence",), ("negative", "positive"), "accuracy"),
    "stsb": Task(_PAIR, (), "spearman"),
    "cb": Task(("premise", "hypothesis"), ("entailment", "contradiction", "neutral"), "f1_macro"),
    # The question is about one word of both sentences, so the encoder has to see which.
    "wic": Task(("{word}: {sentence1}", "sentence2"), ("different", "same"), "accuracy"),
    "boolq": Task(("question", "passage"), ("no", "yes"), "accuracy"),
    # The encoder sees the pronoun and what it may stand for, then the text.
    "wsc": Task(("{span2_text}: {span1_text}", "text"), ("different", "same"), "accuracy"),
    "multirc": Task(("{paragraph}", "{question} {answer}"), ("wrong", "right"), "f1"),
    "copa": Task((), ("choice1", "choice2"), "accuracy"),
    "record": Task((), (), "answer_f1", label=""),
    "squad": Task((), (), "answer_f1", label=""),
    "drop": Task((), (), "drop_f1", label=""),
    "demo_sentiment": Task(("sentence",), ("negative", "positive"), "accuracy"),
    "demo_entailment": Task(_PAIR, ("entailment", "not_entailment"), "accuracy"),
    "demo_acceptability": Task(("sentence",), ("unacceptable", "acceptable"), "matthews"),
    "demo_similarity": Task(_PAIR, (), "spearman"),
    "demo_choice": Task((), ("choice1", "choice2"), "accuracy"),
    "demo_answer": Task((), (), "answer_f1", label=""),
}
TABLE: dict[str, Task] = {
    name: replace(row, prompt=PROMPTS.get(name)) for name, row in _ROWS.items()
}


def resolve(name: str, given: params.Task) -> Task:
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
        raise UserError(f"tasks.{name}: no demo task; {params.nearest(name, known)}")
    else:
        missing = [key for key in ("text", "labels", "metric") if key not in said]
        if missing:
            hint = params.nearest(name, list(TABLE))
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


def _prompt(name: str, task: Task, given: params.Task) -> Prompt | None:
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
