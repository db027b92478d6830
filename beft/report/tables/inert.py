"""Table `inert`: the size of each term's gradient relative to the largest of q, k and v."""

import math

import pandas as pd

from beft.report.analysis import cells as grid
from beft.report.analysis import selection as chosen
from beft.report.frames.columns import CELL
from beft.report.frames.schema import Frames, groups_of, rows_of
from beft.report.tables.table import DASH, Part, Shown, Table, digits, name
from beft.selectors.inert import INERT_RATIO

MARK = "°"
SIZES = ["mean_abs", "relative", "least", "most"]
TIDY = [*CELL, "term", *SIZES, "n", "inert"]


def inert(frames: Frames) -> Table:
    """What the gradients at the pretrained weights say about each term, per model and cell."""
    tidy, parts = facts(frames), []
    terms = [term for term in chosen.TERMS if (tidy["term"] == term).any()]
    terms += [term for term in dict.fromkeys(tidy["term"]) if term not in terms]
    for model in dict.fromkeys(tidy["model"]):
        own, rows = tidy[tidy["model"] == model], []
        known = [term for term in terms if (own["term"] == term).any()]  # that the model has
        for (task, regime), part in groups_of(own, ["task", "regime"]):
            found = {row.term: row for row in rows_of(part)}
            rows.append((name(task), name(regime), *(_cell(found.get(term)) for term in known)))
        parts.append(Part(str(model), ("task", "regime", *known), 2, tuple(rows)))
    title = "Mean absolute gradient of each bias term before training, relative to q, k and v"
    notes = tuple(_notes() if parts else ())
    return Table("inert", title, notes, tuple(parts), digits(tidy, SIZES))


def facts(frames: Frames) -> pd.DataFrame:
    """One row per cell and term, with `TIDY`: means over seeds, and the extremes of `relative`."""
    measured = frames.gradients
    if measured.empty:
        return pd.DataFrame(columns=TIDY)
    groups = measured.groupby([*CELL, "term"], sort=False)
    table = groups.agg(
        mean_abs=("mean_abs", "mean"), relative=("relative", "mean"), least=("relative", "min"),
        most=("relative", "max"), n=("seed", "size"), inert=("inert", "sum"),
    ).reset_index()  # fmt: skip
    ranks = {key: {x: i for i, x in enumerate(grid.order(frames, key))} for key in CELL}
    places = [table[key].map(ranks[key]).fillna(len(table)) for key in CELL]
    order = pd.concat(places, axis=1).sort_values(CELL, kind="stable").index
    return table.loc[order, TIDY].reset_index(drop=True)


def _cell(row) -> Shown:
    if row is None:
        return Shown(DASH, problem="not measured", reason="no gradients of this term")
    if not math.isfinite(row.relative):
        return Shown(DASH, problem="undefined", reason="the gradients of q, k and v are zero")
    apart = f"{row.inert}/{row.n} inert" if 0 < row.inert < row.n else ""
    spread = f"({_number(row.least)} to {_number(row.most)}, n={row.n})"
    marks = MARK if row.inert == row.n else ""
    return Shown(_number(row.relative), spread if row.n > 1 else "(n=1)", marks=marks,
                 problem=apart, reason=apart)  # fmt: skip


def _number(value: float) -> str:
    return f"{value:.3f}" if value >= 1e-3 else f"{value:.1e}" if value else "0"


def _notes() -> list[str]:
    return [
        "Each number: the mean over layers and elements of the absolute gradient of log p(y given "
        "x), from the run of untuned, divided by that of the largest of q, k and v; mean over "
        "seeds (least to most, n seeds).",
        f"{MARK} inert in every seed: one of q, k and v below {INERT_RATIO:g} of the largest. Its "
        "gradient is zero up to rounding, so tuning it changes nothing; of an encoder the head is "
        "trained along.",
    ]
