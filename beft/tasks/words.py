"""One example of a prompted task in words, and how a template becomes them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from beft.errors import UserError

# What JSON can hold, and a row of a dataset. Any: the type of a value depends on its key.
Plain = dict[str, Any]
Row = Mapping[str, Any]

_FIELD = re.compile(r"\{([^{}]+)\}")


@dataclass(frozen=True)
class Words:
    """One example in words.

    Attributes:
        before, passage, after: the prompt is before + passage + after; where it is too long, it is
            the passage that loses its beginning.
        answers: what may follow the prompt, each with its leading space: all candidates of a
            classification or a choice; every gold answer where answers are generated.
        gold: indices of the right ones; all of them where answers are generated.
        group: rows of the same group are scored together (MultiRC's answers to one question).
        spans: what each answer says as metrics compare it, where that is not the answer as such:
            the entity that a candidate of ReCoRD puts in, the spans of an answer of DROP.
    """

    before: str
    passage: str
    after: str
    answers: tuple[str, ...]
    gold: tuple[int, ...]
    group: str = ""
    spans: tuple[tuple[str, ...], ...] = ()

    def said(self, answer: int) -> tuple[str, ...]:
        """What this answer says, as metrics compare it."""
        return self.spans[answer] if self.spans else (self.answers[answer].strip(),)


def fields(template: str) -> list[str]:
    """The columns that a text entry names: its {fields}, or itself when it has none."""
    return _FIELD.findall(template) or [template]


def column_of(path: str, holds: str) -> str:
    """The column of an entry of `views.View.reads`: of "a.b" it is a, but a text's is its name."""
    return path if holds == "text" else path.partition(".")[0]


def fill(template: str, row: Mapping[str, str]) -> str:
    """The template with the row's texts, which lose white space at their ends."""
    return _FIELD.sub(lambda found: row[found[1]].strip(), template)


def frame(template: str, passage: str, row: Mapping[str, str]) -> tuple[str, str, str]:
    """A prompt as what stands before its passage, the passage, and what stands behind it.

    Args:
        template: with {columns}, the passage's exactly once.
        passage: the column.
        row: texts by column.

    Raises:
        UserError: when the passage is not in the template once.
    """
    parts = template.split(f"{{{passage}}}")
    if len(parts) != 2:
        raise UserError(f"template {template!r}: needs {{{passage}}}, the passage, exactly once")
    return fill(parts[0], row), row[passage].strip(), fill(parts[1], row)


def answer(text: str) -> str:
    """A text as it follows a prompt: one line, with a leading space.

    Raises:
        UserError: when it is empty.
    """
    line = " ".join(text.split())
    if not line:
        raise UserError("an answer is empty; every one needs a text")
    return f" {line}"
