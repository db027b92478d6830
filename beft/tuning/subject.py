"""What the studies of a call are of: the model and the tasks, which they define themselves."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import yaml

from beft.tuning.candidates import Candidate
from beft.tuning.examples import Meaning
from beft.tuning.place import Place
from beft.tuning.prompt import SCORING, renamed

TEXTS, LABEL = ("text", "second"), "label"  # columns of the files that are written
LAST = "final"  # the task of the last training
BATCH = 16
DECODER = {
    "batch_size": 8,
    "objective": "cross_entropy_over_candidates",
    "scoring": SCORING,
    "evaluated": "all",
}


def text_columns(count: int) -> tuple[str, ...]:
    """The names that columns of text have in the files that are written."""
    return (*TEXTS, *(f"text-{i}" for i in range(3, count + 1)))[:count]


@dataclass(frozen=True)
class Stage:
    """Runs of some candidates on one task."""

    task: str  # its name
    seed: int
    epochs: int
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True)
class Subject:
    """A model, and the examples of a call as tasks: one for each fold, and one for the end."""

    place: Place
    model: dict[str, Any]  # its definition
    meaning: Meaning
    metric: str
    max_length: int
    folds: int
    # Techniques for which params.yaml has settings -> what holds for all runs, for them as well.
    restated: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def alias(self) -> str:
        """The model's name."""
        return self.place.named("base")

    @property
    def tasks(self) -> list[str]:
        """Names of the tasks, the last one for the end."""
        return [*(self.place.named(f"fold-{k + 1}") for k in range(self.folds)), self.final]

    @property
    def final(self) -> str:
        return self.place.named(LAST)

    def fold(self, fold: int, epochs: int, candidates: Iterable[Candidate]) -> Stage:
        """Runs that hold out a fold, which is counted from 0 and has its own seed."""
        return Stage(self.tasks[fold], fold, epochs, tuple(candidates))

    def last(self, epochs: int, candidate: Candidate) -> Stage:
        """A run on the whole pool."""
        return Stage(self.final, 0, epochs, (candidate,))

    @property
    def training(self) -> dict[str, Any]:
        """What holds for all runs."""
        return {
            "batch_size": BATCH,
            "max_length": self.max_length,
            "weight_decay": 0.0,
            "max_grad_norm": 1.0,
            "precision": "auto",
            **(DECODER if self.meaning.prompt else {}),
        }

    def definition(self, task: str) -> dict[str, Any]:
        """The definition of a task. It leaves no setting of its runs to params.yaml."""
        texts = text_columns(len(self.meaning.texts))
        found: dict[str, Any] = {
            "path": self.place.rows(task).relative_to(self.place.root).as_posix(),
            "text": list(texts[:2]),
            "label": LABEL,
            "labels": list(self.meaning.classes),
            "metric": self.metric,
            **self.training,
            "held_out": 0.0,
            "class_weights": "none",
            # The test rows are read once, not after each epoch.
            "evaluations": "last" if task == self.final else "each_epoch",
        }
        if prompt := self.meaning.prompt:
            found["prompt"] = renamed(prompt, self.meaning.texts, texts).model_dump()
        return found | ({"techniques": self.restated} if self.restated else {})

    def params(self) -> bytes:
        """A params.yaml that adds nothing to what the studies say."""
        nothing: dict[str, Any] = {"models": {}, "tasks": {}, "techniques": {}}
        return _yaml({"study": "first", "training": self.training, **nothing}).encode()

    def study(self, stages: Iterable[Stage], description: str = "") -> bytes:
        """The file of a study of these stages."""
        first, *rest = self._selections(stages)
        content = {
            "description": description,
            "models": {self.alias: self.model},
            **first,
            "regimes": ["all"],
            "selectors": [],
            "skip_inert": True,
            "fuse_techniques": True,
            "tables": ["table5" if self.meaning.prompt else "table1", "comparisons"],
            "figures": ["curves"],
        }
        also = "".join(f"- {_yaml(each, flow=True)}" for each in rest)
        return (_yaml(content) + (f"also:\n{also}" if rest else "")).encode()

    def _selections(self, stages: Iterable[Stage]) -> list[dict[str, Any]]:
        """One for all techniques of equal settings; the first of a task defines it."""
        found: list[dict[str, Any]] = []
        defined: set[str] = set()
        for stage in stages:
            groups: dict[str, dict[str, Any]] = {}
            for candidate in stage.candidates:
                settings = candidate.settings(stage.epochs)
                if candidate.pooling:
                    settings |= {"pooling": candidate.pooling}
                group = {"seeds": [stage.seed], "techniques": [], "training": settings}
                groups.setdefault(repr(settings), group)["techniques"].append(candidate.technique)
            for group in groups.values():
                new = stage.task not in defined
                defined.add(stage.task)
                tasks = {stage.task: self.definition(stage.task)} if new else [stage.task]
                found.append({"tasks": tasks, **group})
        return found


def _yaml(content: dict[str, Any], flow: bool = False) -> str:
    width = 2**31 if flow else 100
    return yaml.safe_dump(
        content, sort_keys=False, allow_unicode=True, default_flow_style=flow, width=width
    )
