"""How many demonstrations in-context learning showed, in the cells of tables 5 and 6."""

import math
from dataclasses import replace

import pandas as pd

from beft.report.analysis import cells as grid
from beft.report.frames.columns import KEYS
from beft.report.frames.schema import Frames
from beft.report.tables.table import Shown

WITHOUT = "‡"
COUNTS = ["demonstrations", "least_demonstrations"]  # columns of evaluations and of these tables


def counted(table: pd.DataFrame, frames: Frames) -> pd.DataFrame:
    """The table with `COUNTS`: the mean over a cell's runs, and the least of them.

    Undefined for other techniques, and where no run recorded them.
    """
    runs = frames.runs[[*KEYS, "digest"]].drop_duplicates("digest")
    found = grid.reported(frames).reindex(columns=["digest", "split", *COUNTS])
    found = found.astype(dict.fromkeys(COUNTS, float)).merge(runs, on="digest")
    keys = [*KEYS, "split"]
    each = found.groupby(keys)[COUNTS].agg(dict(zip(COUNTS, ("mean", "min"), strict=True)))
    return table.merge(each.reset_index(), "left", keys)


def marked(shown: Shown, row) -> Shown:
    """The cell with the numbers of demonstrations, and a mark where prompts had none."""
    mean, least = row.demonstrations, row.least_demonstrations
    if not math.isfinite(mean):
        return shown
    spread = f"{shown.spread} {mean:.1f} shown (least {least:.0f})".strip()
    if least:
        return replace(shown, spread=spread)
    problem = "" if mean else "no demonstration fits"
    said = f"no demonstration fits before {'some of its' if mean else 'any of its'} prompts"
    return replace(
        shown,
        spread=spread,
        marks=shown.marks + WITHOUT,
        problem="; ".join(filter(None, (shown.problem, problem))),
        reason="; ".join(filter(None, (shown.reason, said))),
    )


def notes(tidy: pd.DataFrame) -> list[str]:
    """What these numbers and the mark mean, where a cell has them."""
    least = tidy["least_demonstrations"].dropna()
    said = "shown: the mean number of demonstrations before a prompt, and the least."
    mark = (
        f"{WITHOUT} no demonstration fits before a prompt of this cell, which is then answered as "
        "zero_shot answers it; a larger max_length makes room."
    )
    return [said] * bool(len(least)) + [mark] * bool((least == 0).any())
