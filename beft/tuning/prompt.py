"""The prompt that asks a decoder for the class of a row: the user's, or one made of the columns.

A template names columns of the file in braces, as prompts of tasks do. The answer follows the
prompt; the column of labels at the end of a template says the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from beft.data.normalise import column
from beft.data.readers.rows import Rows
from beft.errors import UserError, shortened
from beft.models.family import is_causal
from beft.models.loading import read_config
from beft.models.pretrained import check_checkpoint
from beft.study.params import Prompt
from beft.tasks.labels import spelt
from beft.tasks.words import Words, answer, fields, fill, frame
from beft.tuning.base_model import NamedModel
from beft.tuning.columns import guess
from beft.tuning.examples import Columns, Examples
from beft.tuning.look import MOST_CLASSES
from beft.tuning.targets import missing
from beft.tuning.wish import Wish

SCORING = "normalised"  # how answers are compared: `study.settings.Scoring`
_LONGEST = 200  # characters of a column's name, as in params.yaml


@dataclass(frozen=True)
class Asked:
    """What a decoder is asked, and what it may answer."""

    columns: Columns
    template: str
    answers: tuple[str, ...]  # of each class

    def prompt(self, found: Examples) -> Prompt:
        """The prompt. Its passage, which is cut where it is too long, is the longest column.

        Raises:
            UserError: the template names each column more than once.
        """
        sizes = {
            name: sum(len(texts[i]) for texts in found.texts)
            for i, name in enumerate(self.columns.texts)
            if self.template.count(f"{{{name}}}") == 1
        }
        if not sizes:
            raise UserError(
                "--prompt: it names each column more than once; name one of them once: its "
                "beginning is left out where a prompt is too long"
            )
        passage = max(sizes, key=lambda name: sizes[name])
        return Prompt(template=self.template, passage=passage, answers=list(self.answers))


def asks(base: NamedModel, wish: Wish) -> bool:
    """Whether a model is a decoder, which is asked by a prompt.

    Raises:
        UserError: it is an encoder, and there is a prompt.
    """
    label = f"--model {base}"
    causal = is_causal(read_config(check_checkpoint(base.folder, label), label))
    if wish.prompt is not None and not causal:
        raise UserError(
            f"--prompt: {base} is an encoder, which reads texts without a prompt; leave --prompt "
            "out, or give --model a decoder such as facebook/opt-125m"
        )
    return causal


def asked(rows: Rows, wish: Wish) -> Asked:
    """The columns that a decoder reads, its prompt, and the answer that stands for each class.

    Raises:
        UserError: it is not clear which columns are meant, or the prompt does not fit them, or the
            labels are no classes.
    """
    if wish.prompt is None:
        columns = guess(rows, wish.text, wish.label, metric=wish.metric)
        template, words = _made(columns), None
    else:
        columns, template, words = _given(rows, wish, wish.prompt)
    where = f"{rows.origin}: column '{shortened(columns.label)}'"
    if not columns.classes:
        raise UserError(
            f"{where} holds numbers, and a decoder is tuned on classes alone: give --metric "
            "accuracy if each number is a class, or give --model an encoder"
        )
    if len(columns.classes) > MOST_CLASSES:
        raise UserError(
            f"{where} has {len(columns.classes)} different labels, and a decoder chooses among at "
            f"most {MOST_CLASSES} classes; answers that are generated need a study, see "
            "docs/decoders.md"
        )
    for name in columns.texts:
        if fields(f"{{{name}}}") != [name] or len(name) > _LONGEST:
            raise UserError(
                f"{rows.origin}: column '{shortened(name)}': a prompt cannot name it, as its name "
                f"has braces or more than {_LONGEST} characters; rename it"
            )
        if len(columns.classes) > 1 and _one_to_one(rows, columns.label, name):
            raise UserError(
                f"{rows.origin}: column '{shortened(name)}' says the label of each row, so nothing "
                "would be learned; leave it out of --prompt, or let it stand at the end"
            )
    return Asked(columns, template, words or columns.classes)


def _made(columns: Columns) -> str:
    """A prompt of a line for each column, and the name of the label for the answer to follow."""
    lines = [f"{_title(name)}: {{{name}}}" for name in columns.texts]
    return "\n".join([*lines, f"{_title(columns.label)}:"])


def _title(name: str) -> str:
    """The name of a column as a person would write it."""
    words = name.translate(dict.fromkeys(map(ord, "_{}"), " ")).split()
    text = " ".join(words)
    return text[:1].upper() + text[1:]


def _given(rows: Rows, wish: Wish, given: str) -> tuple[Columns, str, tuple[str, ...] | None]:
    """The columns of a user's prompt, its template, and words for the classes if it names some."""
    template = given.rstrip(" ")
    named = fields(template)
    if named == [template]:
        raise UserError(
            "--prompt: it names no column; write the name of one in braces, such as "
            f"{{{shortened(rows.names[0], 40)}}}"
        )
    for name in named:
        try:
            column(rows, name, rows.origin)
        except UserError as error:
            raise error.within("--prompt") from None
    texts, label, end = list(dict.fromkeys(named)), wish.label, named[-1]
    words = None
    if template.rstrip().endswith(f"{{{end}}}") and len(texts) > 1 and named.count(end) == 1:
        if label is None and _may_be_label(rows, end):
            label = _last(rows, texts[:-1], end, wish.metric)
        if label is not None and label != end:
            words = _one_to_one(rows, label, end)
        if label == end or words:
            template, texts = template.rstrip().removesuffix(f"{{{end}}}").rstrip(" "), texts[:-1]
    if label in texts:
        raise UserError(
            f"--prompt: {{{label}}} is the label, whose place is the end of the prompt: put it "
            "there, or leave it out"
        )
    if wish.text and set(wish.text) != set(texts):
        raise UserError("--text: the columns that --prompt names are read; leave --text out")
    columns = guess(rows, texts, label, metric=wish.metric, most=len(texts))
    return columns, template, _words(rows, columns, words, end)


def _may_be_label(rows: Rows, name: str) -> bool:
    """Whether a column has few different values, each in several rows."""
    values = [spelt(value) for value in rows.columns[name] if not missing(value)]
    return 1 < len(set(values)) <= min(MOST_CLASSES, len(values) // 4)


def _last(rows: Rows, texts: Sequence[str], end: str, metric: str | None) -> str:
    """The column at the end of a prompt as the label, if no other column looks like it."""
    try:
        other = guess(rows, texts, metric=metric, most=len(texts)).label
    except UserError:  # several look like it
        return end
    if other != end:
        raise UserError(
            f"--prompt: it ends with {{{shortened(end)}}}, but column '{shortened(other)}' looks "
            "like the label; give --label NAME"
        )
    return end


def _words(
    rows: Rows, columns: Columns, words: dict[str, str] | None, name: str
) -> tuple[str, ...] | None:
    """The word that a file has for each class."""
    if words is None:
        return None
    for each in columns.classes:
        if spelt(each) not in words:
            raise UserError(
                f"{rows.origin}: column '{shortened(name)}' has no word for the class "
                f"'{shortened(each)}'; add it, or leave the column out of --prompt"
            )
    return tuple(words[spelt(each)] for each in columns.classes)


def _one_to_one(rows: Rows, label: str, other: str) -> dict[str, str] | None:
    """Label -> the value of another column, if each label has one of its own."""
    pairs = {
        (spelt(mine), " ".join(str(value).split()))
        for mine, value in zip(column(rows, label, rows.origin), rows.columns[other], strict=True)
        if not missing(mine) and not missing(value)
    }
    labels, values = ({pair[i] for pair in pairs} for i in (0, 1))
    return dict(pairs) if len(pairs) == len(labels) == len(values) > 1 else None


def renamed(prompt: Prompt, old: Sequence[str], new: Sequence[str]) -> Prompt:
    """The same prompt of columns with other names."""
    names = dict(zip(old, new, strict=True))
    template = fill(prompt.template, {name: f"{{{other}}}" for name, other in names.items()})
    return Prompt(template=template, passage=names[prompt.passage], answers=prompt.answers)


def words_of(prompt: Prompt, columns: Sequence[str], texts: Sequence[str]) -> Words:
    """An example whose right answer is not known."""
    row = dict(zip(columns, texts, strict=True))
    answers = tuple(map(answer, prompt.answers))
    return Words(*frame(prompt.template, prompt.passage, row), answers, (0,))
