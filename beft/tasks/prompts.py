"""Prompts: plain data that says how rows become prompts and answers for a decoder."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from beft.errors import UserError
from beft.tasks.views import VIEWS
from beft.tasks.words import Plain, Words, answer, check_columns, column_of, fields, frame


@dataclass(frozen=True)
class Prompt:
    """The prompt of a task."""

    # classification: all rows have the same candidates; choice: each row has its own; generation:
    # the answer is generated greedily, until a newline.
    kind: str
    metrics: tuple[str, ...]  # see `beft.tasks.metrics.answers`; the first one is reported
    # Plain data: the name of the `view` (a function of `beft.tasks.views`), its `version`, and its
    # arguments: mostly a `template`, the column that is the `passage`, and `answers`.
    wording: Plain

    def reads(self) -> dict[str, str]:
        """The columns that a row must have besides the label -> their type (`View.reads`)."""
        named = fields(self.wording["template"]) if "template" in self.wording else []
        return dict.fromkeys(named, "text") | dict(VIEWS[self.wording["view"]].reads)


def classification(
    template: str,
    passage: str,
    answers: Sequence[str],
    metrics: Sequence[str] = ("accuracy",),
    view: str = "classes",
) -> Prompt:
    """The prompt of a task with classes.

    Args:
        template: with {columns}; spaces at its end are left out, as answers begin with one.
        passage: the column whose beginning is left out where a prompt is too long.
        answers: one for each class, in the order of their numbers.

    Raises:
        UserError: a passage that is not in the template once; an empty or a repeated answer.
    """
    frame(template, passage, dict.fromkeys(fields(template), ""))  # raises
    candidates = [answer(text) for text in answers]
    for i, candidate in enumerate(candidates):
        if candidate in candidates[:i]:
            raise UserError(f"answers: '{candidate.strip()}' is listed twice")
    return Prompt(
        "classification",
        tuple(metrics),
        {
            "view": view,
            "version": VIEWS[view].version,
            "template": template.rstrip(" "),
            "passage": passage,
            "answers": candidates,
        },
    )


def view_of(prompt: Plain, name: str) -> Callable[[Plain], Words]:
    """The function that turns a normalised row into an example, as a prompt of a recipe defines.

    It raises UserError, without naming the row, for a row that makes no example.

    Args:
        prompt: the plain data of `Task.prompt_dict`.
        name: the task's, for messages.

    Raises:
        UserError: when this version of the program words the prompt differently.
    """
    wording = prompt["wording"]
    view = VIEWS.get(wording["view"])
    if view is None or view.version != wording["version"]:
        raise UserError(
            f"tasks.{name}: its prompt '{wording['view']}' version {wording['version']} is not one "
            "of this version of the program; plan the study again"
        )
    return lambda row: _checked(view.words(row, prompt))


def _checked(words: Words) -> Words:
    if not words.answers:
        raise UserError("there is no answer to choose from or to learn; leave the row out")
    if not words.gold:
        raise UserError("no answer is right; leave the row out")
    for index in words.gold:
        if not 0 <= index < len(words.answers):
            raise UserError(f"label {index} is not one of 0 to {len(words.answers) - 1}")
    return words


def words_of(table: pa.Table, prompt: Plain, name: str) -> list[Words]:
    """The examples of a normalised split, for a prompt that `Task.prompt_dict` gives.

    Raises:
        UserError: it names the dataset (`name`) and the row that makes no example.
    """
    view = view_of(prompt, name)
    needed = Prompt(prompt["kind"], (), prompt["wording"]).reads()
    columns = {column_of(path, holds) for path, holds in needed.items()}
    columns |= {prompt["label"]} if "label" in prompt else set()
    check_columns(table.column_names, columns, name)
    examples = []
    for row, values in enumerate(table.select(sorted(columns)).to_pylist()):
        try:
            examples.append(view(values))
        except UserError as error:
            raise UserError(f"{name}: row {row}: {error}") from None
    return examples
