"""The table of tasks: columns, labels, metric and splits of each, in hub column layout."""

from copy import deepcopy
from dataclasses import dataclass, replace

from beft.tasks.prompts import Prompt
from beft.tasks.wordings import PROMPTS
from beft.tasks.words import Plain, fields


@dataclass(frozen=True)
class Task:
    """How the rows of a dataset become examples, for encoders (text) and decoders (prompt)."""

    # The encoder's input: one or two columns, or templates such as "{word}: {sentence1}"; empty for
    # a task of decoders only.
    text: tuple[str, ...]
    labels: tuple[str, ...]  # class names in order; empty for regression and without classes
    metric: str  # the reported metric of encoders (`metrics.classes`); the prompt has the decoders'
    # The label column: class names or their positions, or a number for regression; empty without
    # labels.
    label: str = "label"
    train: str = "train"  # the split that is trained on
    validation: tuple[str, ...] = ("validation",)  # evaluated; the first chooses the best epoch
    prompt: Prompt | None = None  # the prompt for decoders; None for a task of encoders only
    hub_labels: tuple[str, ...] = ()  # what the hub's files call the classes, if not as `labels`

    def kinds(self) -> tuple[str, ...]:
        """The kinds of models that can learn the task: `encoder`, `decoder`."""
        return ("encoder",) * bool(self.text) + ("decoder",) * (self.prompt is not None)

    def reads(self, kind: str | None = None) -> dict[str, str]:
        """The columns that a row must have besides the label, in order -> the type of their values.

        The type is "text", "texts" or "number" (`views.View.reads`).

        Args:
            kind: the kind of model. Default: both, which share one source.
        """
        columns: dict[str, str] = {}
        if kind != "decoder":
            columns |= dict.fromkeys((c for t in self.text for c in fields(t)), "text")
        if kind != "encoder" and self.prompt is not None:
            columns |= self.prompt.reads()
        return columns

    def to_dict(self) -> Plain:
        """The encoder's view as plain lists and strings, as they enter a recipe."""
        return {
            "text": list(self.text),
            "labels": list(self.labels),
            "metric": self.metric,
            **self._rest(),
        }

    def prompt_dict(self) -> Plain:
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

    def _rest(self) -> Plain:
        label = {"label": self.label} if self.label else {}
        return {**label, "train": self.train, "validation": list(self.validation)}


_PAIR = ("sentence1", "sentence2")
_BOOLEAN = ("False", "True")

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
    "wic": Task(
        ("{word}: {sentence1}", "sentence2"), ("different", "same"), "accuracy", hub_labels=_BOOLEAN
    ),
    "boolq": Task(("question", "passage"), ("no", "yes"), "accuracy", hub_labels=_BOOLEAN),
    # The encoder sees the pronoun and what it may stand for, then the text.
    "wsc": Task(
        ("{span2_text}: {span1_text}", "text"),
        ("different", "same"),
        "accuracy",
        hub_labels=_BOOLEAN,
    ),
    "multirc": Task(
        ("{paragraph}", "{question} {answer}"), ("wrong", "right"), "f1", hub_labels=_BOOLEAN
    ),
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
