"""Turn a table in any format into one that tasks read: check columns, unify texts and labels."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beft.errors import UserError
from beft.study.fields import nearest
from beft.tasks import Task
from beft.tasks.prompts import words_of
from beft.tasks.words import column_of


def normalise(table: pa.Table, task: Task, origin: str) -> pa.Table:
    """Checks the columns that a task reads, and gives texts and labels one type each.

    Other columns stay as they are. Rows that make no example of the task, such as a row whose
    answer is not among its candidates, are refused here too.

    Raises:
        UserError: if a column is missing or has another type than the task reads, or a row is
            wrong. The message begins with `origin`, the name of the file.
    """
    if table.num_rows == 0:
        raise UserError(f"{origin}: the split is empty")
    table = table.replace_schema_metadata(None)
    for path, kind in task.reads().items():
        name = column_of(path, kind)
        values = _field(_column(table, name, origin), path[len(name) + 1 :], name, origin)
        values = _checked(values, kind, path, origin)
        if kind == "text":
            table = _with(table, path, values.cast(pa.string()).combine_chunks())
    if task.label:
        labels = _labels(_column(table, task.label, origin), task, origin)
        table = _with(table, task.label, labels)
    if task.prompt is not None and task.prompt.wording["view"] != "classes":
        words_of(table, task.prompt_dict(), origin)
    return table


def _with(table: pa.Table, column: str, values: pa.Array) -> pa.Table:
    return table.set_column(table.column_names.index(column), column, values)


def _column(table: pa.Table, name: str, origin: str) -> pa.ChunkedArray:
    if name not in table.column_names:
        hint = nearest(name, table.column_names)
        raise UserError(f"{origin}: no column '{name}'; {hint}")
    if table.column_names.count(name) > 1:
        raise UserError(f"{origin}: more than one column '{name}'")
    column = table[name]  # categories may be stored as a dictionary
    dictionary = pa.types.is_dictionary(column.type)
    return column.cast(column.type.value_type) if dictionary else column


def _field(values: pa.ChunkedArray, field: str, name: str, origin: str) -> pa.ChunkedArray:
    """A field of a column of structs, or the column itself if `field` is empty."""
    if not field:
        return values
    if not pa.types.is_struct(values.type) or values.type.get_field_index(field) < 0:
        raise UserError(
            f"{origin}: column '{name}' holds {values.type}, not structs with a '{field}'"
        )
    return pc.struct_field(values, field)


def _checked(values: pa.ChunkedArray, kind: str, path: str, origin: str) -> pa.ChunkedArray:
    """Checks that every row of a column holds what the task reads (`tasks.views.View.reads`)."""
    fits, expected = _KINDS[kind]
    if not fits(values.type):
        raise UserError(f"{origin}: column '{path}' holds {values.type}, not {expected}")
    empty = values.is_null()
    if kind == "texts":
        inner = [texts is None or None in texts for texts in values.to_pylist()]
        empty = pa.chunked_array([inner])
    if pc.any(empty).as_py():
        row = pc.index(empty, True).as_py()
        raise UserError(f"{origin}: row {row}: '{path}' is empty (null)")
    return values


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _is_texts(kind: pa.DataType) -> bool:
    return (pa.types.is_list(kind) or pa.types.is_large_list(kind)) and _is_text(kind.value_type)


_KINDS = {
    "text": (_is_text, "text"),
    "texts": (_is_texts, "lists of texts"),
    "number": (pa.types.is_integer, "whole numbers"),
}


def _labels(column: pa.ChunkedArray, task: Task, origin: str) -> pa.Array:
    """Classes as int64, or values as float64."""
    column = column.combine_chunks()
    if column.null_count:
        row = pc.index(column.is_null(), True).as_py()
        raise UserError(f"{origin}: row {row}: '{task.label}' is empty (null)")
    textual = _is_text(column.type)
    if task.labels and textual:
        values = column.to_pylist()
        for row, value in enumerate(values):
            if value not in task.labels:
                raise UserError(
                    f"{origin}: row {row}: label '{value}' is not one of {', '.join(task.labels)}"
                )
        return pa.array([task.labels.index(v) for v in values], pa.int64())
    if textual or not (
        pa.types.is_integer(column.type)
        or pa.types.is_floating(column.type)
        or pa.types.is_boolean(column.type)
    ):
        raise UserError(f"{origin}: column '{task.label}' holds {column.type}, not labels")
    values = np.asarray(column.cast(pa.float64() if not task.labels else column.type))
    if not task.labels:
        return _in_range(values.astype(np.float64), np.isfinite(values), "a number", origin)
    integral = values.astype(np.float64)
    valid = (integral == np.floor(integral)) & (integral >= 0) & (integral < len(task.labels))
    return _in_range(integral, valid, f"one of 0 to {len(task.labels) - 1}", origin, pa.int64())


def _in_range(
    values: np.ndarray,
    valid: np.ndarray,
    expected: str,
    origin: str,
    dtype: pa.DataType | None = None,
) -> pa.Array:
    if not valid.all():
        row = int(np.argmin(valid))
        raise UserError(f"{origin}: row {row}: label {values[row]:g} is not {expected}")
    return pa.array(values).cast(dtype or pa.float64())
