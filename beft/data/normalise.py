"""Turn the rows of a file into the table that runs read: texts as text, labels as numbers."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from beft.data.readers.rows import Rows, Twice
from beft.errors import UserError, one_line
from beft.study.fields import nearest
from beft.tasks import Task
from beft.tasks.labels import Number, Wrong, match, spelt, target
from beft.tasks.prompts import words_of
from beft.tasks.words import column_of

_EMPTY = 'is empty (null); remove the row, or give it a text, which may be ""'
_TYPES = {"text": pa.string(), "texts": pa.list_(pa.string()), "number": pa.int64()}


@dataclass(frozen=True)
class Split:
    """A normalised split."""

    table: pa.Table
    by_position: bool  # the file has numbers for labels, and does not name them
    unfit: dict[str, str]  # a kind of model that cannot read this split -> why, without the file


def normalise(rows: Rows, task: Task, origin: str) -> Split:
    """Checks the columns that a task reads, and gives texts and labels one type each.

    Rows that make no example of the task, such as a row whose answer is not among its candidates,
    are wrong too. What only encoders or only decoders read may be missing or wrong: then the split
    is for the others.

    Args:
        rows: what a reader made of a file.
        task: the task that reads it.
        origin: the name of the file; messages begin with it.

    Raises:
        UserError: if a column is missing, or a row holds what the task cannot read, so that no kind
            of model can be trained.
    """
    if rows.count == 0:
        raise UserError(f"{origin}: the split is empty")
    if task.label in task.reads():
        raise UserError(f"{origin}: column '{task.label}' is both a text and the label")
    labels, by_position = _labels(rows, task, origin) if task.label else (None, False)
    made: dict[str, pa.Array] = {}
    unfit: dict[str, str] = {}
    for kind in task.kinds():
        try:
            made |= _columns(rows, task, kind, labels, origin)
        except UserError as error:
            unfit[kind] = str(error).removeprefix(f"{origin}: ")
    if len(unfit) == len(task.kinds()):
        raise UserError(f"{origin}: {next(iter(unfit.values()))}")
    if labels is not None:
        made[task.label] = labels
    return Split(_table(rows, made, task.label), by_position, unfit)


def _columns(
    rows: Rows, task: Task, kind: str, labels: pa.Array | None, origin: str
) -> dict[str, pa.Array]:
    """The columns that a kind of model reads, and a check of the examples that they make."""
    fields: dict[str, dict[str, pa.Array]] = {}  # of each column; "" is the column itself
    for path, holds in task.reads(kind).items():
        name = column_of(path, holds)
        field = path[len(name) + 1 :]
        fields.setdefault(name, {})[field] = _field(rows, name, field, holds, origin)
    made = {
        name: inner[""] if "" in inner else pa.StructArray.from_arrays(inner.values(), list(inner))
        for name, inner in fields.items()
    }
    if kind == "decoder" and task.prompt_dict()["wording"]["view"] != "classes":
        label = {task.label: labels} if labels is not None else {}
        words_of(pa.table({**made, **label}), task.prompt_dict(), origin)
    return made


def _field(rows: Rows, name: str, field: str, holds: str, origin: str) -> pa.Array:
    """A column, or a field of a column of objects, in the type that the task reads."""
    path = f"{name}.{field}" if field else name
    read = _READ[holds]

    def convert(value: Any) -> Any:
        return read(_inside(value, field) if field else value)

    converted = each(rows, column(rows, name, origin), convert, path, origin)
    return _array(rows, converted, _TYPES[holds], path, origin)


def column(rows: Rows, name: str, origin: str) -> list[Any]:
    """The values of a column of a file.

    Raises:
        UserError: if there is none of this name, or more than one.
    """
    if name in rows.columns:
        return rows.columns[name]
    if name in rows.names:
        raise UserError(f"{origin}: more than one column '{name}'")
    hint = one_line(nearest(name, rows.names[:1000]), 300)
    raise UserError(f"{origin}: no column '{name}'; {hint}")


def each(
    rows: Rows, values: Sequence[Any], convert: Callable[[Any], Any], path: str, origin: str
) -> list[Any]:
    """Converts the values of a column; the message of a ValueError follows the column's name.

    Args:
        path: the column's name; empty where the message names what is wrong by itself.
    """
    name = f"'{path}' " if path else ""
    converted = []
    for row, value in enumerate(values):
        try:
            converted.append(convert(value))
        except ValueError as error:
            raise UserError(f"{origin}: {rows.place(row)}: {name}{error}") from None
    return converted


def _array(rows: Rows, values: list[Any], kind: pa.DataType, path: str, origin: str) -> pa.Array:
    try:
        return pa.array(values, kind)
    except UnicodeEncodeError:
        each(rows, values, encodable, path, origin)
        raise


def encodable(value: Any) -> None:
    try:
        str(value if isinstance(value, str) else "".join(value)).encode()
    except UnicodeEncodeError:
        raise ValueError("is not UTF-8; csv and JSON lines have to be saved as UTF-8") from None


def _inside(value: Any, field: str) -> Any:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise ValueError(f"holds {_kind(value)}, not an object with '{field}'")
    if field not in value:
        raise ValueError(f"holds an object without '{field}'")
    return value[field]


def text_of(value: Any) -> str:
    if type(value) is str:
        return value
    if value is None:
        raise ValueError(_EMPTY)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Number):  # csv cannot tell a number from a text either
        return str(value)
    raise ValueError(f"holds {_kind(value)}, not text")


def _texts(value: Any) -> list[str]:
    if value is None or (isinstance(value, list) and None in value):
        raise ValueError("is empty (null); remove the row, or list its texts")
    if not isinstance(value, list):
        raise ValueError(f"holds {_kind(value)}, not a list of texts")
    for text in value:
        if type(text) is not str:
            raise ValueError(f"holds a list with {_kind(text)}, not a list of texts")
    return value


def _number(value: Any) -> int:
    if value is None:
        raise ValueError("is empty (null); remove the row, or give it a number")
    if not isinstance(value, str) or not re.fullmatch(r"-?[0-9]{1,18}", value):
        raise ValueError(f"holds {_kind(value)}, not a whole number")
    return int(value)


_READ: dict[str, Callable[[Any], Any]] = {"text": text_of, "texts": _texts, "number": _number}


def label_of(value: Any) -> Any:
    if value is None or isinstance(value, str | bool):
        return value
    raise ValueError(f"holds {_kind(value)}, not a label")


def _kind(value: Any) -> str:
    """What a value is, for messages."""
    if isinstance(value, Twice):
        return "two values"
    if isinstance(value, Number | bool):
        return str(value).lower()[:40]
    names = {str: "text", list: "a list", dict: "an object", type(None): "null"}
    return names.get(type(value), type(value).__name__)


def _labels(rows: Rows, task: Task, origin: str) -> tuple[pa.Array, bool]:
    """Classes as int64, or values as float64; and whether they are positions without names."""
    path = task.label
    values = each(rows, column(rows, path, origin), label_of, path, origin)
    if None in values:
        row = values.index(None)
        raise UserError(f"{origin}: {rows.place(row)}: '{path}' is empty (null); remove the row")
    if not task.labels and rows.classes:
        classes = one_line(", ".join(rows.classes), 200)
        raise UserError(
            f"{origin}: its column '{path}' has the classes {classes}, but the task has no "
            "'labels:', so numbers would be its targets; give 'labels:' those"
        )
    if not task.labels:
        return pa.array(each(rows, values, target, "", origin), pa.float64()), False
    if rows.classes:
        _check_classes(rows.classes, task, origin)
        named = {str(number): name for number, name in enumerate(rows.classes)}
        values = [named.get(spelt(value), value) for value in values]
    matched = match(values, task.labels, task.hub_labels)
    if isinstance(matched, Wrong):
        raise UserError(f"{origin}: {rows.place(matched.row)}: {matched.reason}")
    return pa.array(matched.numbers, pa.int64()), matched.by_position


def _check_classes(classes: tuple[str, ...], task: Task, origin: str) -> None:
    if classes not in (task.labels, task.hub_labels):
        told = (one_line(", ".join(names), 200) for names in (classes, task.labels))
        raise UserError(
            "{}: its column '{}' has the classes {}, but the task's labels are {}; give 'labels:' "
            "those of the file, in their order".format(origin, task.label, *told)
        )


def _table(rows: Rows, made: dict[str, pa.Array], label: str) -> pa.Table:
    """The columns that were made; of a whole table, all others as well."""
    if rows.whole is None:
        return pa.table(made)
    table = rows.whole.replace_schema_metadata(None)
    for name, values in made.items():
        index = table.column_names.index(name)
        numbers = pa.types.is_integer(table.schema.field(index).type) and name != label
        if not pa.types.is_nested(values.type) and not (numbers and values.type == pa.int64()):
            table = table.set_column(index, name, values)  # lists and whole numbers stay
    return table
