"""Guess which columns of a file hold the text and the label, and what kind of task that is."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from beft.data.normalise import column, each, label_of
from beft.data.readers.rows import Rows
from beft.errors import UserError, shortened
from beft.tasks.labels import spelt
from beft.tuning.examples import Columns
from beft.tuning.targets import (
    CLASSES,
    MOST_NUMBERS,
    commas,
    different,
    example_of,
    kind_of,
    missing,
    numeric,
    ordered,
    refuse_several,
    whole,
)

# Names that say what a column holds, as people write them; the first of each is sure.
_TEXTS = (
    *("text", "sentence", "review", "content", "comment", "message", "tweet", "document", "body"),
    *("utterance", "description", "abstract", "question", "query", "post"),
)
_LABELS = (
    *("label", "labels", "class", "category", "target", "stars", "sentiment", "score", "rating"),
    *("y", "gold_label", "intent", "emotion", "topic", "polarity", "similarity"),
)
# Columns that make a pair: the first, and those that may be the second.
_PAIRS = {
    "premise": ("hypothesis",),
    "sentence1": ("sentence2",),
    "sentence_1": ("sentence_2",),
    "sentence_a": ("sentence_b",),
    "text1": ("text2",),
    "text_1": ("text_2",),
    "text_a": ("text_b",),
    "question1": ("question2",),
    "question": ("sentence", "passage", "context", "paragraph", "answer", "text"),
    "query": ("document", "passage", "text"),
}
_IDS = re.compile(r"|(.*[ _.-])?(id|ids|uid|uuid|guid|index|idx)|unnamed: \d+|__index_level_\d+__")
# A date, perhaps with a time: 2024-05-31, 31.05.2024, 5/31/24 10:15.
_DATE = re.compile(r"(\d{4}([-/.])\d\d?\2\d\d?|\d\d?([-/.])\d\d?\3\d{2,4})([T ]\d\d?:\d\d.*)?")
_MOST_CLASSES = 100  # classes of a column that nobody named as the label
_ROWS_OF_A_CLASS = 4  # fewest rows of a class there, on average
_LONGER = 2  # how much longer than all others the text has to be
_SHOWN = 30  # columns that a question lists


@dataclass(frozen=True)
class _Profile:
    """What a column holds, as far as it tells texts from labels and from ids."""

    name: str
    key: str  # the name as names are compared
    values: list[Any]  # those that are not missing
    distinct: int
    number: bool
    nested: bool  # lists or objects
    words: float  # of a median value
    single: bool  # no value has a blank
    dates: bool


def guess(
    rows: Rows,
    text: Sequence[str] = (),
    label: str | None = None,
    kind: str | None = None,
    metric: str | None = None,
    most: int = 2,
) -> Columns:
    """Finds the columns of text and of labels; those that are given are taken.

    Args:
        rows: all columns of a file.
        text: names of the columns of text, at most `most` of them; empty to guess.
        label: name of the column of labels; None to guess.
        kind: `classes` or `regression`; None to guess from the metric, else from the labels.
        metric: the metric that the user wants.
        most: how many columns of text there may be.

    Raises:
        UserError: if several columns could be meant, with a list of them and an example each; if
            a column that is given is missing; or if rows have several labels.
    """
    for name in (*text, *([label] if label is not None else [])):
        column(rows, name, rows.origin)
    if len(text) > most or len({*text, label}) < len(text) + 1:
        raise UserError(f"{rows.origin}: give one column of text, or two, and another of labels")
    profiles = [_profile(name, values) for name, values in rows.columns.items() if name.strip()]
    if len(profiles) < 2:
        names = ", ".join(f"'{shortened(name)}'" for name in rows.names[:_SHOWN])
        raise UserError(
            f"{rows.origin}: a text and a label need two columns, but there is only {names}; "
            "in a csv, the first line names them, separated by commas, semicolons, tabs or bars"
        )
    texts = tuple(text) or _named_texts([p for p in profiles if p.name != label])
    found = label
    if found is None:
        found = _label([p for p in profiles if p.name not in texts], rows)
    texts = texts or _free_texts([p for p in profiles if p.name != found], rows)
    return Columns(texts, found, _classes(rows, found, kind, metric, known=label is not None))


def _profile(name: str, given: Sequence[Any]) -> _Profile:
    values = [value for value in given if not missing(value)]
    nested = any(not isinstance(value, str | bool) for value in values)
    spellings = [] if nested else [spelt(value) for value in values]
    lengths = [len(value.split()) for value in spellings]
    return _Profile(
        name,
        name.strip().lower(),
        values,
        len(set(spellings)),
        bool(values) and not nested and all(map(numeric, values)),
        nested,
        median(lengths) if lengths else 0,
        all(length <= 1 for length in lengths),
        bool(spellings) and all(map(_DATE.fullmatch, spellings)),
    )


def _named_texts(profiles: Sequence[_Profile]) -> tuple[str, ...]:
    """The columns of text by their names; none where names do not tell."""
    names = {p.key: p.name for p in profiles if p.values and not p.nested}
    for first, seconds in _PAIRS.items():
        for second in seconds:
            if first in names and second in names:
                return names[first], names[second]
    found = [names[key] for key in _TEXTS if key in names]
    return (found[0],) if len(found) == 1 or _TEXTS[0] in names else ()


def _label(profiles: Sequence[_Profile], rows: Rows) -> str:
    named = [p for key in _LABELS for p in profiles if p.key == key]
    if len(named) == 1 or (named and named[0].key == _LABELS[0]):
        return named[0].name
    found = named or [p for p in profiles if not _is_id(p) and _may_be_label(p)]
    # The only column, or the only one that is no free text.
    found = found or (list(profiles) if len(profiles) == 1 else [])
    found = found or [p for p in profiles if p.values and not p.nested and (p.number or p.single)]
    if len(found) == 1:
        return found[0].name
    raise _question("the label", "--label NAME", found or profiles, rows)


def _free_texts(profiles: Sequence[_Profile], rows: Rows) -> tuple[str, ...]:
    found = [
        p for p in profiles if p.values and not (p.nested or p.number or p.single or _is_id(p))
    ]
    found.sort(key=lambda p: -p.words)
    if not found and len(profiles) == 1:
        found = list(profiles)
    if len(found) == 1 or (found and found[0].words >= _LONGER * found[1].words):
        return (found[0].name,)
    raise _question("the text", "--text NAME (twice for a pair)", found or profiles, rows)


def _is_id(profile: _Profile) -> bool:
    """Whether a column names or dates rows: by its name, or as each has another short value."""
    alone = profile.distinct == len(profile.values) > 1
    if profile.number:
        alone = alone and all(map(whole, profile.values))
    return profile.dates or _IDS.fullmatch(profile.key) is not None or (alone and profile.single)


def _may_be_label(profile: _Profile) -> bool:
    if profile.nested:
        return False
    some = min(_MOST_CLASSES, len(profile.values) // _ROWS_OF_A_CLASS)
    several = profile.number and (
        profile.distinct > MOST_NUMBERS or not all(map(whole, profile.values))
    )
    return 1 < profile.distinct <= some or several


def _question(what: str, option: str, found: Sequence[_Profile], rows: Rows) -> UserError:
    """Asks which column is meant, with an example of each."""
    examples = [
        f"  {shortened(p.name, 40)}: {example_of(p.values[0]) if p.values else 'empty'}"
        for p in found[:_SHOWN]
    ]
    more = [f"  and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
    return UserError(
        f"{rows.origin}: which column holds {what}? Give {option}, one of these {len(found)}:",
        [*examples, *more],
    )


def _classes(
    rows: Rows, label: str, kind: str | None, metric: str | None, known: bool
) -> tuple[str, ...]:
    """The classes of a label column by name; none for a regression.

    Args:
        rows: all columns of a file.
        label: the column of labels.
        kind: what the user says that it holds.
        metric: the metric that the user wants.
        known: whether the user named the column.
    """
    where = f"{rows.origin}: column '{shortened(label)}'"
    if nested := [v for v in rows.columns[label] if isinstance(v, list | dict)]:
        refuse_several(nested, where)
    labels = each(rows, rows.columns[label], label_of, label, rows.origin)
    values = [value for value in labels if not missing(value)]
    if not values:
        raise UserError(f"{where} has no label in any row; give --label NAME for another column")
    row = numeric(label) and all(map(numeric, values))
    if not known and rows.starts and (row or spelt(label) in {spelt(value) for value in values}):
        raise UserError(
            f"{where} has a label for its name, so the first line seems to be a row; "
            "write a line with the names of the columns above it"
        )
    kind = kind or kind_of(values, metric)
    try:
        several = kind == CLASSES or not commas(values)
    except ValueError as error:
        raise UserError(f"{where}: {error}; write numbers as 3.5 and 1234") from None
    if several:
        refuse_several(values, where)
    return different(ordered(values), where) if kind == CLASSES else ()
