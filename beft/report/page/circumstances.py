"""Provenance and problems of the runs, grouped for the page."""

from collections.abc import Iterator

import pandas as pd

from beft.errors import one_line
from beft.report.analysis import cells as grid
from beft.report.analysis import constant, guessing, precision
from beft.report.analysis import selection as chosen
from beft.report.frames.columns import CELL, KEYS, MACHINE
from beft.report.frames.schema import Frames
from beft.store.precision import Difference

SHOWN_COMMANDS = 20


def provenance(frames: Frames) -> dict:
    """Group the runs by machine and versions, with the number of runs of each group."""
    table = frames.provenance
    columns = [column for column in MACHINE if column in table and column != "threads"]
    groups = (
        table.astype(object)
        .fillna("")
        .astype(str)
        .groupby(columns, sort=True)
        .size()
        .reset_index(name="runs")
    )
    commands = list(dict.fromkeys(table["command"].dropna().astype(str)))
    started = sorted(table["started"].dropna().astype(str))
    return {
        "columns": [*columns, "runs"],
        "rows": groups.values.tolist(),
        "dirty": int(table["dirty"].sum()),
        "commands": commands[:SHOWN_COMMANDS],
        "more": max(0, len(commands) - SHOWN_COMMANDS),
        "started": (started[0], started[-1]) if started else None,
    }


def problems(frames: Frames) -> list[dict]:
    """Group the runs that are not ok by status and reason, then what is doubtful."""
    where = frames.runs[[*KEYS, "seed", "digest"]].drop_duplicates("digest")
    rows = frames.problems.merge(where, "left", "digest")
    rows = rows.assign(reason=rows["reason"].fillna("").map(one_line))
    found = []
    for (status, reason), part in rows.groupby(["status", "reason"], sort=True):
        told = {"status": status, "reason": reason, "runs": len(part)}
        found.append({**told, "places": _places(part)})
    return [*found, *_precision(frames), *_constant(frames), *_unbeaten(frames), *_data(frames)]


def _precision(frames: Frames) -> Iterator[dict]:
    """What no setting asks for: runs of one cell, or techniques, of different precision."""
    cases: dict[tuple[str, str], list[Difference]] = {}
    for each in precision.unlike(frames):
        whose = "runs of one cell" if each.technique else "techniques beside each other"
        cases.setdefault((whose, each.words), []).append(each)
    for (whose, words), cells in cases.items():
        yield {
            "status": "different precision",
            "reason": f"{whose}: {words}",
            "runs": sum(each.runs for each in cells),
            "places": [_where((*each.place, each.technique)) for each in cells],
        }
    known = precision.runs(frames)
    if unknown := sum(not run.precision for run in known):
        reason = "these runs do not record their precision"
        yield {"status": "unknown precision", "reason": reason, "runs": unknown, "places": []}


def _constant(frames: Frames) -> Iterator[dict]:
    """Runs that predict the same for every example."""
    runs = constant.runs(frames)
    if len(runs):
        reason = f"the best epoch {constant.WORDS} of the validation set"
        told = {"status": "constant predictions", "reason": reason, "runs": len(runs)}
        yield {**told, "places": _places(runs)}


def _unbeaten(frames: Frames) -> Iterator[dict]:
    """Cells in which nothing beats guessing on the first split, with the number of their runs."""
    shown = grid.shown(frames)
    found = guessing.unbeaten_cells(shown)
    places = [place for place in chosen.places(shown) if place in found]
    if places:
        own = shown.runs[CELL].itertuples(index=False, name=None)
        yield {
            "status": guessing.UNBEATEN,
            "reason": guessing.WORDS,
            "runs": sum(place in places for place in own),
            "places": [_where((*place, "")) for place in places],
        }


def _data(frames: Frames) -> Iterator[dict]:
    """What is odd about the rows of local files."""
    for task, odd in frames.settings.get("odd_data", {}).items():
        runs = int((frames.runs["task"] == task).sum())
        places = [_where(("", task, "", ""))]
        yield {"status": "odd data", "reason": odd, "runs": runs, "places": places}


def _places(runs: pd.DataFrame) -> list[dict]:
    """The cells of runs, each with its seeds."""
    return [
        _where(tuple(map(str, key)), ", ".join(str(int(seed)) for seed in own["seed"]))
        for key, own in runs.dropna(subset=["seed"]).groupby(KEYS, sort=False)
    ]


def _where(place: tuple[str, ...], seeds: str = "") -> dict:
    """A cell, or all techniques of a place, to follow to its runs."""
    return {"place": place, "text": " · ".join(filter(None, place)), "seeds": seeds}
