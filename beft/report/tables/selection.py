"""Table `selection`: the term that each selector chose, beside the term that came out best."""

import math

import pandas as pd

from beft.report.analysis import cells as grid
from beft.report.analysis import guessing
from beft.report.analysis import selection as chosen
from beft.report.frames.schema import Frames, groups_of
from beft.report.tables.metric_cells import INERT
from beft.report.tables.table import DASH, Part, Shown, Table, name


def selection(frames: Frames, column: str = "best") -> Table:
    """What each selector chose in each (model, task, regime), beside the term that came out best.

    Args:
        column: `best` or `last`, the epoch that decides what came out best.
    """
    tidy = chosen.selection(frames, column)
    names = list(dict.fromkeys(tidy["selector"]))
    parts = []
    for model, rows in groups_of(tidy, "model"):
        columns = ("task", "regime", "best term", "lead", "seeds won", *names, "inert")
        cells = [_row(*place) for place in grid.grouped(rows, ["task", "regime"]).items()]
        parts.append(Part(str(model), columns, 2, tuple(cells)))
    title = "Bias term that each selector chose, and the term that came out best"
    return Table("selection", title, tuple(_notes(tidy, column)), tuple(parts), tidy)


def _row(place: tuple[str, str], part: list) -> tuple[Shown, ...]:
    first = part[0]
    doubt = "" if first.best else first.reason
    doubt = chosen.NONE_AHEAD if "/" in first.best else doubt
    doubt = guessing.UNBEATEN if first.best and first.unbeaten else doubt
    behind = (str(first.model), *place, "")
    best = Shown(first.best or DASH, problem=doubt, reason=doubt, place=behind)
    lead = f"{100 * first.lead:+.1f}" if math.isfinite(first.lead) else DASH
    won = f"{first.seeds_won}/{first.seeds}" if first.seeds else DASH
    picks = [_pick(row) for row in part]
    return (*map(name, place), best, Shown(lead, place=behind), Shown(won), *picks,
            Shown(first.inert_terms or DASH))  # fmt: skip


def _pick(row) -> Shown:
    if not row.selected:
        return Shown(DASH, problem="no score", reason="no score of q, k or v is defined")
    marks = INERT if row.selected_inert else ""
    tie = f"tie {row.tie}" if row.tie else ""
    hit = row.agree is True and not row.unbeaten
    return Shown(row.selected, marks=marks, problem=tie, bold=hit)


def _notes(tidy: pd.DataFrame, column: str) -> list[str]:
    every = chosen.agreement(tidy)
    counts = [f"{selector} {n['agree']} of {n['decided']}" for selector, n in every.items()]
    even = max((n["none_ahead"] for n in every.values()), default=0)
    epoch = "best" if column == "best" else "last"
    notes = [
        f"Best term: the highest mean over seeds of the {epoch} epoch, first validation set; "
        "lead: its distance to the runner-up in points; seeds won: seeds in which it was "
        "the best, of those in which every compared term has a result.",
        "A selector chooses the highest mean score among q, k and v; bold: the choice was best.",
        "Choices that came out best, of those in decided cells in which one term is ahead: "
        f"{'; '.join(counts)}.",
        f"{chosen.NONE_AHEAD.capitalize()} in {even} of the decided cells, as where none learned "
        "anything: no choice is a hit there." if even else "",
        f"{guessing.UNBEATEN.capitalize()}: {guessing.WORDS}, so no choice is in bold there."
        if tidy["unbeaten"].any() else "",
        f"{INERT} the chosen term is inert: its gradient is zero up to rounding."
        if tidy["selected_inert"].any() else "",
    ]  # fmt: skip
    return [note for note in notes if note]
