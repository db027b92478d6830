"""Turn a template and a row into the texts of an example: its prompt and its answers."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from beft.errors import UserError

# What JSON can hold, and a row of a dataset. Any: the type of a value depends on its key.
Plain = dict[str, Any]
Row = Mapping[str, Any]

_FIELD = re.compile(r"\{([^{}]+)\}")


@dataclass(frozen=True)
class Words:
    """The texts of one example. Its prompt is before + passage + after."""

    before: str
    passage: str  # loses its beginning if the prompt is too long
    after: str
    # Each answer has a leading space: all candidates, or every gold answer if they are generated.
    answers: tuple[str, ...]
    gold: tuple[int, ...]  # indices of the right answers; all of them if answers are generated
    group: str = ""  # examples of one group are scored together (answers to a question of MultiRC)
    # The texts of each answer that metrics compare, if they are not the answer itself: the entity
    # that a candidate of ReCoRD inserts, or the spans of an answer of DROP.
    spans: tuple[tuple[str, ...], ...] = ()
    # Whether one of `spans` may hold the answers of several people, one after the other, because
    # the dataset does not say where one ends (validation rows of DROP).
    run_together: bool = False

    def said(self, answer: int) -> tuple[str, ...]:
        """The texts of an answer that metrics compare."""
        return self.spans[answer] if self.spans else (self.answers[answer].strip(),)


def fields(template: str) -> list[str]:
    """The columns that a template names: its {fields}, or the text itself if it has none."""
    return _FIELD.findall(template) or [template]


def column_of(path: str, holds: str) -> str:
    """The column that an entry of `views.View.reads` names: a of "a.b", unless it holds text."""
    return path if holds == "text" else path.partition(".")[0]


def check_columns(have: Iterable[str], need: Iterable[str], name: str) -> None:
    """Makes sure that a fetched dataset has the columns that a kind of model reads.

    Raises:
        UserError: it names the dataset (`name`) and the column.
    """
    for column in sorted(set(need) - set(have)):
        raise UserError(
            f"{name}: its files have no column '{column}' that fits, which this kind of model reads"
        )


def fill(template: str, row: Mapping[str, str]) -> str:
    """Fills in the texts of a row, without white space at their ends."""
    return _FIELD.sub(lambda found: row[found[1]].strip(), template)


def frame(template: str, passage: str, row: Mapping[str, str]) -> tuple[str, str, str]:
    """Fills in a template, and splits it into the text before the passage, the passage, the rest.

    Args:
        template: text with {columns}.
        passage: the column that is the passage.
        row: the text of each column.

    Raises:
        UserError: if the template does not name the passage exactly once.
    """
    parts = template.split(f"{{{passage}}}")
    if len(parts) != 2:
        raise UserError(f"template {template!r}: needs {{{passage}}}, the passage, exactly once")
    return fill(parts[0], row), row[passage].strip(), fill(parts[1], row)


def answer(text: str) -> str:
    """Turns a text into an answer: one line with a leading space.

    Raises:
        UserError: if the text is empty.
    """
    line = " ".join(text.split())
    if not line:
        raise UserError("an answer is empty; every one needs a text")
    return f" {line}"
