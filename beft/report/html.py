"""One page for review: answer first, then tables, figures, settings, provenance and problems."""

import base64
import math
from pathlib import Path

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from beft.report import cells as grid
from beft.report import selection as chosen
from beft.report import selectors
from beft.report.figures import CAPTIONS, FIGURES, NARROW
from beft.report.frames import Frames
from beft.report.style import LOOKS
from beft.report.summary import run_counts
from beft.report.table import Table

SHOWN_COMMANDS = 20
MACHINE = [
    "commit",
    "dirty",
    "code",
    "device",
    "hardware",
    "python",
    "torch",
    "transformers",
    "beft",
]


def render(frames: Frames, tables: dict[str, Table], figures_dir: Path) -> str:
    """The page as one self-contained HTML document.

    Args:
        tables: the tables to show, by name, in order; `table1_last` is folded under `table1`.
        figures_dir: where the SVG files of the study's figures lie; they are embedded.
    """
    environment = Environment(
        loader=PackageLoader("beft.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["term"] = _term
    environment.filters["wide"] = lambda text: Markup("<br>").join(str(text).split("_", 1))
    rows = chosen.selection(frames)
    return environment.get_template("page.html.j2").render(
        study=str(frames.settings.get("study", "study")),
        description=str(frames.settings.get("description", "")),
        answer=_answer(rows),
        board=_board(frames, rows),
        regimes=grid.order(frames, "regime"),
        agreement=chosen.agreement(rows),
        worth=selectors.in_words(frames),
        counts=run_counts(frames),
        one_seed=frames.runs["seed"].nunique() < 2,
        tables=tables,
        figures=[_figure(name, figures_dir) for name in _figures(frames)],
        settings={k: v for k, v in frames.settings.items() if k not in ("study", "description")},
        provenance=_provenance(frames),
        problems=_problems(frames),
        looks=LOOKS,
    )


def _term(name: str) -> str | Markup:
    """`b_v` set as a letter with an index; any other name as it is."""
    if name in [f"b_{term}" for term in chosen.TERMS]:
        return Markup("<i>b</i><sub>{}</sub>").format(name[2:])
    return name


def _figures(frames: Frames) -> list[str]:
    return [name for name in frames.settings.get("figures", list(FIGURES)) if name in FIGURES]


def _figure(name: str, folder: Path) -> dict:
    path = folder / f"{name}.svg"
    source = None
    if path.is_file():
        source = "data:image/svg+xml;base64," + base64.b64encode(path.read_bytes()).decode()
    return {"name": name, "caption": CAPTIONS[name], "source": source, "narrow": name in NARROW}


def _answer(rows: pd.DataFrame) -> dict:
    """Which term came out best, how often, and how sure: one entry per fact, counts only."""
    cells = rows.drop_duplicates(chosen.PLACE)
    decided = cells[cells["best"] != ""]
    wins = {term: sum(term in best.split("/") for best in decided["best"]) for term in chosen.TERMS}
    top = max(wins, key=wins.get) if len(decided) else ""
    close = decided.sort_values("lead", kind="stable").head(1)
    closest = [
        f"{100 * r.lead:.1f} points ({r.model}, {r.task}, {r.regime})" for r in close.itertuples()
    ]
    return {
        "top": top,
        "wins": wins,
        "decided": len(decided),
        "cells": len(cells),
        "unanimous": int(
            ((decided["seeds_won"] == decided["seeds"]) & (decided["seeds"] > 0)).sum()
        ),
        "closest": closest[0] if closest else "",
    }


def _board(frames: Frames, rows: pd.DataFrame) -> list[dict]:
    """The answer as a grid: one row per model and task, one cell per regime."""
    board: dict[tuple[str, str], dict] = {}
    for (model, task, regime), part in rows.groupby(chosen.PLACE, sort=False):
        first = part.iloc[0]
        line = board.setdefault((model, task), {"model": model, "task": task, "cells": {}})
        line["cells"][regime] = {
            "best": first["best"].split("/") if first["best"] else [],
            "lead": f"+{100 * first['lead']:.1f}" if math.isfinite(first["lead"]) else "",
            "won": f"{first['seeds_won']}/{first['seeds']}",
            "reason": first["reason"],
            "picks": [
                {"selector": row.selector, "term": row.selected, "agree": row.agree}
                for row in part.itertuples()
            ],
        }
    return list(board.values())


def _provenance(frames: Frames) -> dict:
    """The distinct circumstances of the runs, with the number of runs of each."""
    table = frames.provenance
    columns = [column for column in MACHINE if column in table]
    groups = (
        table.fillna("").astype(str).groupby(columns, sort=True).size().reset_index(name="runs")
    )
    commands = list(dict.fromkeys(table["command"].dropna().astype(str)))
    started = sorted(table["started"].dropna().astype(str))
    return {
        "columns": [*columns, "runs"],
        "rows": groups.values.tolist(),
        "dirty": int((table["dirty"].astype(str).str.lower() == "true").sum()),
        "commands": commands[:SHOWN_COMMANDS],
        "more": max(0, len(commands) - SHOWN_COMMANDS),
        "started": (started[0], started[-1]) if started else None,
    }


def _problems(frames: Frames) -> list[dict]:
    """Runs that are not ok, gathered by what went wrong."""
    where = frames.runs[[*grid.KEYS, "seed", "digest"]].drop_duplicates("digest")
    rows = frames.problems.merge(where, "left", "digest")
    rows = rows.assign(reason=rows["reason"].fillna("").map(grid.one_line))
    found = []
    for (status, reason), part in rows.groupby(["status", "reason"], sort=True):
        places = [
            (" · ".join(map(str, key)), ", ".join(str(int(seed)) for seed in seeds["seed"]))
            for key, seeds in part.dropna(subset=["seed"]).groupby(grid.KEYS, sort=False)
        ]
        found.append({"status": status, "reason": reason, "runs": len(part), "places": places})
    return found
