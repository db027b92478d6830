"""Guess which columns of a file hold the text and the label, and what kind of task that is."""

from collections.abc import Sequence

from beft.data.readers.rows import Rows
from beft.tuning.examples import Columns


def guess(
    rows: Rows,
    text: Sequence[str] = (),
    label: str | None = None,
    kind: str | None = None,
    metric: str | None = None,
) -> Columns:
    """Finds the columns of text and of labels; those that are given are taken.

    Args:
        rows: all columns of a file.
        text: names of the columns of text, one or two; empty to guess.
        label: name of the column of labels; None to guess.
        kind: `classes` or `regression`; None to guess from the metric, else from the labels.
        metric: the metric that the user wants.

    Raises:
        UserError: if several columns could be meant; it lists them with an example each.
    """
    raise NotImplementedError
