"""The model card of an adapter: README.md in its folder."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from beft.errors import one_line, shortened
from beft.tuning.adapter_format import Facts
from beft.tuning.scores import by_class, confusion, of_classes, of_values

MATRIX = 20  # classes of a confusion matrix that is shown whole


@dataclass(frozen=True)
class DataFile:
    """A file of labelled rows."""

    name: str
    sha256: str
    rows: int
    use: str  # such as "training and test"


@dataclass(frozen=True)
class Card:
    """What is told of an adapter beside what it is."""

    name: str  # the folder's name
    files: tuple[DataFile, ...]
    training_rows: int
    counts: Mapping[str, int]  # class -> its rows in the training rows; empty for a regression
    settings: Mapping[str, str]  # such as "learning rate" -> "8e-3"
    # the race: names of columns, and a row of texts for each candidate
    candidates: tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]
    metric: str  # the one that the choice was made by, such as "accuracy"
    value: float  # of the test rows, a fraction
    low: float | None  # interval of `value`
    high: float | None
    guessing: float | None  # the metric of always the most frequent class; None if it has none
    # of the test rows, (n,): positions of classes; for a regression, values in the label's unit
    truth: np.ndarray
    predicted: np.ndarray
    warnings: tuple[str, ...] = ()
    interval: str = "95 % interval"  # what `low` and `high` are


@dataclass(frozen=True)
class Form:
    """In what form an adapter's folder holds what was tuned."""

    peft: bool  # whether there are files for PEFT
    why_not: str = ""  # a sentence, where there are none
    trained: int = 0  # numbers that were tuned beside the head
    total: int = 0  # numbers of the base model


class Markdown(str):
    """Text that is Markdown already."""


def escaped(value: object) -> str:
    """A value as one line of Markdown that shows it as it is; what is `Markdown` stays."""
    if isinstance(value, Markdown | int | float):
        return str(value)
    text = "".join(c if c.isprintable() else " " for c in shortened(value, 200))
    text = re.sub(r"([\\`*_\[\]<>|~#&$!{}])", r"\\\1", one_line(text))
    return re.sub(r"^([-+=]|\d+(?=[.)](?: |$)))", _shielded, text)  # not the mark of a list


def _shielded(mark: re.Match[str]) -> str:
    return f"{mark[0]}\\" if mark[0].isdigit() else f"\\{mark[0]}"


def render_card(card: Card, facts: Facts, form: Form, example: str) -> bytes:
    """README.md.

    Args:
        form: how the folder holds what was tuned.
        example: the text of example.py.
    """
    text = _environment().get_template("card.md.j2").render(
        card=card,
        facts=facts,
        form=form,
        header=Markdown(_header(card, facts, form)),
        example=Markdown(example.rstrip()),
        **_words(card, facts, form),
        **_quality(card, facts),
    )  # fmt: skip
    return (text.rstrip() + "\n").encode()


def _words(card: Card, facts: Facts, form: Form) -> dict[str, Any]:
    """What stands in sentences."""
    # In a block of code nothing can be escaped.
    plain = card.name.isprintable() and "`" not in card.name
    folder = card.name if plain else "ADAPTER"
    texts = ["a text", *["another text"] * (len(facts.texts) - 1)]
    shown = ", ".join(f'"{text}"' for text in texts)
    prompt = facts.prompt
    counts = ", ".join(f"{number:,} {escaped(name)}" for name, number in card.counts.items())
    return {
        "terms": ", ".join(facts.terms),
        "base": facts.base.name if facts.base.hub else f"a local model, {facts.base.path}",
        "share": Markdown(f"{100 * form.trained / max(form.total, 1):.2g} %"),
        "read": "the mean of all tokens" if facts.pooling == "mean" else "the first token",
        "counts": Markdown(f": {counts}" if counts else ""),
        "columns": Markdown(" and ".join(map(escaped, facts.texts))),
        "outputs": Markdown(", ".join(map(escaped, facts.classes))),
        "value": _shown(facts, card.value),
        "low": _shown(facts, card.low),
        "high": _shown(facts, card.high),
        "guessing": _shown(facts, card.guessing),
        "folder": Markdown(shlex.quote(folder)),
        "folder_text": Markdown(ascii(folder)),
        "text": Markdown(f"({shown})" if len(texts) > 1 else shown),
        "prompt": Markdown("> " + "  \n> ".join(map(escaped, prompt.template.split("\n"))))
        if prompt
        else "",
        "answers": Markdown(", ".join(map(escaped, prompt.answers))) if prompt else "",
    }


def _shown(facts: Facts, value: float | None) -> Markdown:
    """A metric: of classes in percent."""
    if value is None:
        return Markdown("")
    return Markdown(f"{100 * value:.1f} %" if facts.classes else f"{value:.3g}")


def _quality(card: Card, facts: Facts) -> dict[str, Any]:
    if not facts.classes:
        return {"values": of_values(card.truth, card.predicted)}
    matrix = confusion(card.truth, card.predicted, len(facts.classes))
    wrong = matrix - np.diag(np.diag(matrix))
    places = np.argsort(-wrong, axis=None, kind="stable")[:10]
    pairs = [divmod(int(place), len(matrix)) for place in places]
    return {
        "per_class": by_class(matrix, facts.classes),
        "whole": of_classes(matrix),
        "matrix": matrix.tolist() if len(matrix) <= MATRIX else None,
        "confused": [
            (facts.classes[a], facts.classes[b], int(wrong[a, b])) for a, b in pairs if wrong[a, b]
        ],
    }


def _header(card: Card, facts: Facts, form: Form) -> str:
    """The metadata that the hub reads: YAML, whose library quotes whatever needs it."""
    data = one_line(", ".join(file.name for file in card.files))
    metric = {"type": card.metric, "value": round(float(card.value), 4)}
    result = {
        "task": {"type": "text-classification"},
        "dataset": {"name": data, "type": data},
        "metrics": [metric],
    }
    told = {
        "library_name": "peft" if form.peft else "transformers",
        "pipeline_tag": "text-generation" if facts.prompt else "text-classification",
        "tags": ["beft", "bias-tuning", "text-classification"],
        "metrics": [card.metric],
        "model-index": [{"name": one_line(card.name), "results": [result]}],
    }
    if facts.base.hub is not None:
        told = {"base_model": facts.base.hub} | told
    dumped: str = yaml.safe_dump(told, sort_keys=False, allow_unicode=False, width=10**6)
    return f"# license: choose one before you publish this folder\n{dumped}".rstrip()


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("beft.tuning", "."),
        autoescape=False,  # it is no HTML: `finalize` escapes every value for Markdown
        finalize=escaped,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["percent"] = lambda value: Markdown(f"{100 * value:.1f}")
    environment.filters["brief"] = lambda value: Markdown(f"{value:.4g}")
    environment.filters["count"] = lambda value: Markdown(f"{value:,}")
    environment.filters["code"] = lambda value: Markdown(f"`{value}`")  # of our own names alone
    return environment
