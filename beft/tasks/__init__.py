"""The table of tasks: columns, labels, metric and splits of each, in hub column layout."""

import re
from dataclasses import asdict, dataclass, replace
from typing import Any

from beft import params
from beft.errors import UserError


@dataclass(frozen=True)
class Task:
    """How a dataset becomes examples of an encoder.

    Attributes:
        text: one or two columns or templates ("{word}: {sentence1}"): the encoder's segments.
        label: label column; integers 0..len(labels)-1, or a number for regression.
        labels: class names in order; empty for regression.
        metric: the reported one, see `beft.metrics`.
        train: split that is trained on.
        validation: splits that are evaluated; the first one chooses the best epoch.
    """

    text: tuple[str, ...]
    labels: tuple[str, ...]
    metric: str
    label: str = "label"
    train: str = "train"
    validation: tuple[str, ...] = ("validation",)

    @property
    def num_labels(self) -> int:
        """Outputs of the head: 1 for regression."""
        return len(self.labels) or 1

    def columns(self) -> tuple[str, ...]:
        """The columns that a row must have."""
        return tuple(dict.fromkeys([*(c for t in self.text for c in fields(t)), self.label]))

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and strings, as they enter a recipe."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


def fields(template: str) -> list[str]:
    """The columns that a text entry names: its {fields}, or itself when it has none."""
    return re.findall(r"\{([^{}]+)\}", template) or [template]


_PAIR = ("sentence1", "sentence2")

TABLE: dict[str, Task] = {
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
    "demo_sentiment": Task(("sentence",), ("negative", "positive"), "accuracy"),
    "demo_entailment": Task(_PAIR, ("entailment", "not_entailment"), "accuracy"),
    "demo_acceptability": Task(("sentence",), ("unacceptable", "acceptable"), "matthews"),
    "demo_similarity": Task(_PAIR, (), "spearman"),
}


def resolve(name: str, given: params.Task) -> Task:
    """The task of that name: the table's row with what params.yaml says on top.

    Raises:
        UserError: for a name that is not in the table and is not fully described.
    """
    said = {
        key: tuple(value) if isinstance(value, list) else value
        for key in ("text", "label", "labels", "metric", "train", "validation")
        if (value := getattr(given, key)) is not None
    }
    if name in TABLE:
        return _checked(name, replace(TABLE[name], **said))
    if given.demo:
        known = [n for n in TABLE if n.startswith("demo_")]
        raise UserError(f"tasks.{name}: no demo task; {params.nearest(name, known)}")
    missing = [key for key in ("text", "labels", "metric") if key not in said]
    if missing:
        hint = params.nearest(name, list(TABLE))
        raise UserError(
            f"tasks.{name}: not in the table of tasks ({hint}), so it also needs: "
            + ", ".join(missing)
        )
    return _checked(name, Task(**said))


def _checked(name: str, task: Task) -> Task:
    regression = task.metric in ("spearman", "pearson")
    if regression and task.labels:
        raise UserError(f"tasks.{name}: metric {task.metric} needs regression: labels: []")
    if not regression and not task.labels:
        raise UserError(f"tasks.{name}: metric {task.metric} needs classes in 'labels'")
    if task.metric == "f1" and len(task.labels) != 2:
        raise UserError(f"tasks.{name}: metric f1 needs two labels; use f1_macro for more")
    return task
