"""Functions that turn a row of a dataset into prompt and answers, one for each form of prompt."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from beft.errors import UserError
from beft.tasks.words import Plain, Row, Words, answer, frame

PLACEHOLDER = "@placeholder"


class View(NamedTuple):
    """A form of prompt."""

    words: Callable[[Row, Plain], Words]  # (row, the prompt in a recipe) -> the example
    version: int = 1  # raised when the same row and wording would become other text
    # Columns besides those of the template -> their type: "text", "texts" (a list) or "number";
    # "a.b" is field b of a column a of structs.
    reads: Mapping[str, str] = {}


def _framed(row: Row, prompt: Plain) -> tuple[str, str, str]:
    return frame(prompt["wording"]["template"], prompt["wording"]["passage"], row)


def classes(row: Row, prompt: Plain) -> Words:
    """The same candidates for every row, one for each class."""
    return Words(
        *_framed(row, prompt), tuple(prompt["wording"]["answers"]), (row[prompt["label"]],)
    )


def pronoun(row: Row, prompt: Plain) -> Words:
    """Winograd schemas: classes, of a text whose pronoun is marked by stars.

    `span2_index` counts words. A word there that does not begin with the pronoun (the index is
    wrong in a few rows of the first release) leaves the text unmarked.
    """
    words, place, span = row["text"].split(), row["span2_index"], row["span2_text"].strip()
    if 0 <= place < len(words) and words[place].lower().startswith(span.lower()):
        found = words[place]
        words[place] = f"*{found[: len(span)]}*{found[len(span) :]}"
    return classes({**row, "text": " ".join(words)}, prompt)


def grouped(row: Row, prompt: Plain) -> Words:
    """MultiRC: classes, of one proposed answer; all those to one question form a group."""
    words = classes(row, prompt)
    return replace(words, group=f"{row['idx']['paragraph']}/{row['idx']['question']}")


def reason(row: Row, prompt: Plain) -> Words:
    """COPA: which of two clauses goes on from the premise. Equal ones stay two candidates."""
    asked = row["question"].strip()
    if asked not in prompt["wording"]["joints"]:
        raise UserError(f"question '{asked}' is neither 'cause' nor 'effect'")
    premise = row["premise"].strip().removesuffix(".")
    candidates = tuple(answer(_clause(row[c])) for c in ("choice1", "choice2"))
    joint = prompt["wording"]["joints"][asked]
    return Words("", premise, joint, candidates, (row[prompt["label"]],))


def _clause(sentence: str) -> str:
    """A sentence as the second half of another one."""
    text = sentence.strip()
    first = text.replace("'", " ").replace("’", " ").split(" ")[0]
    return text if first == "I" else text[:1].lower() + text[1:]


def cloze(row: Row, prompt: Plain) -> Words:
    """ReCoRD: which entity fits a sentence about a passage.

    The prompt ends before the gap; a candidate is an entity and the rest of the sentence, so that
    all of them share the prompt. Entities that repeat are one candidate.
    """
    bullet = prompt["wording"]["bullet"]
    passage = row["passage"].strip().replace("\n@highlight\n", bullet)
    start, gap, rest = row["query"].strip().partition(PLACEHOLDER)
    if not gap:
        raise UserError(f"the query has no {PLACEHOLDER}")
    if start and not start.endswith(" "):
        # What touches the gap is told with the entity, which then begins with a space too.
        start, _, opening = start.rpartition(" ")
    else:
        start, opening = start.rstrip(), ""
    entities = list(dict.fromkeys(e.strip() for e in row["entities"]))
    gold = list(dict.fromkeys(e.strip() for e in row["answers"]))
    for name in gold:
        if name not in entities:
            raise UserError(f"the answer '{name}' is not one of the entities")
    candidates = tuple(
        answer(f"{opening}{answer(e)[1:]}{rest.replace(PLACEHOLDER, e)}") for e in entities
    )
    after = f"{bullet.rstrip(' ')}{' ' if start else ''}{start}"
    return Words(
        before="",
        passage=passage,
        after=after,
        answers=candidates,
        gold=tuple(entities.index(name) for name in gold),
        spans=tuple((e,) for e in entities),
    )


def extraction(row: Row, prompt: Plain) -> Words:
    """SQuAD: a question about a passage; each different gold answer counts."""
    golds = tuple(dict.fromkeys(answer(text) for text in row["answers"]["text"]))
    return Words(*_framed(row, prompt), golds, tuple(range(len(golds))))


def reasoning(row: Row, prompt: Plain) -> Words:
    """DROP: a question whose answer is a number, a date, or one or more spans (`golds_of_drop`)."""
    given = row["answers_spans"]
    golds = golds_of_drop(given["spans"], given["types"])
    answers = tuple(answer(", ".join(spans)) for spans in golds)
    every = tuple(range(len(golds)))
    return Words(*_framed(row, prompt), answers, every, spans=tuple(golds), run_together=True)


def golds_of_drop(spans: Sequence[str], types: Sequence[str]) -> list[tuple[str, ...]]:
    """The gold answers of a row of DROP, each as its spans, in order of appearance.

    The dataset on the hub writes the answers of all annotators one after the other. Each number and
    each date is an answer. Spans that follow each other are one tuple: the one answer of a training
    row, or those of several annotators of a validation row, which does not say where one ends.

    Raises:
        UserError: for lists of different length, or an empty span.
    """
    if len(spans) != len(types):
        raise UserError(f"answers_spans: {len(spans)} spans and {len(types)} types")
    golds: list[tuple[str, ...]] = []
    for place, (span, kind) in enumerate(zip(spans, types, strict=True)):
        text = answer(span)[1:]
        if place and kind == types[place - 1] == "span":
            golds[-1] += (text,)
        else:
            golds.append((text,))
    return list(dict.fromkeys(golds))


VIEWS: dict[str, View] = {
    "classes": View(classes),
    "pronoun": View(pronoun, reads={"span2_index": "number", "span2_text": "text"}),
    "grouped": View(grouped, reads={"idx.paragraph": "number", "idx.question": "number"}),
    "reason": View(
        reason, reads=dict.fromkeys(("premise", "choice1", "choice2", "question"), "text")
    ),
    "cloze": View(
        cloze,
        reads={"passage": "text", "query": "text", "entities": "texts", "answers": "texts"},
    ),
    "extraction": View(extraction, reads={"answers.text": "texts"}),
    "reasoning": View(
        reasoning,
        version=2,  # the first made one answer of spans that occur equally often
        reads={"answers_spans.spans": "texts", "answers_spans.types": "texts"},
    ),
}
