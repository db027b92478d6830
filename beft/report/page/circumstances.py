"""Provenance and problems of the runs, grouped for the page."""

from collections.abc import Iterator

from beft.errors import one_line
from beft.report.analysis import precision
from beft.report.frames.columns import KEYS, MACHINE
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
    """Group the runs that are not ok by status and reason, then those of unlike precision."""
    where = frames.runs[[*KEYS, "seed", "digest"]].drop_duplicates("digest")
    rows = frames.problems.merge(where, "left", "digest")
    rows = rows.assign(reason=rows["reason"].fillna("").map(one_line))
    found = []
    for (status, reason), part in rows.groupby(["status", "reason"], sort=True):
        places = [
            _where(tuple(map(str, key)), ", ".join(str(int(seed)) for seed in seeds["seed"]))
            for key, seeds in part.dropna(subset=["seed"]).groupby(KEYS, sort=False)
        ]
        found.append({"status": status, "reason": reason, "runs": len(part), "places": places})
    return [*found, *_precision(frames)]


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


def _where(place: tuple[str, ...], seeds: str = "") -> dict:
    """A cell, or all techniques of a place, to follow to its runs."""
    return {"place": place, "text": " · ".join(filter(None, place)), "seeds": seeds}
