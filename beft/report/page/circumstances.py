"""Provenance and problems of the runs, grouped for the page."""

from beft.errors import one_line
from beft.report.frames.columns import KEYS, MACHINE
from beft.report.frames.schema import Frames

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
    """Group the runs that are not ok by status and reason."""
    where = frames.runs[[*KEYS, "seed", "digest"]].drop_duplicates("digest")
    rows = frames.problems.merge(where, "left", "digest")
    rows = rows.assign(reason=rows["reason"].fillna("").map(one_line))
    found = []
    for (status, reason), part in rows.groupby(["status", "reason"], sort=True):
        places = [
            {
                "place": tuple(map(str, key)),
                "text": " · ".join(map(str, key)),
                "seeds": ", ".join(str(int(seed)) for seed in seeds["seed"]),
            }
            for key, seeds in part.dropna(subset=["seed"]).groupby(KEYS, sort=False)
        ]
        found.append({"status": status, "reason": reason, "runs": len(part), "places": places})
    return found
