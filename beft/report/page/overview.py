"""The answer at the top of the page: which term came out best, how often, and how surely."""

import math

import pandas as pd

from beft.report.analysis import cells as grid
from beft.report.analysis import selection as chosen
from beft.report.frames.columns import CELL
from beft.report.frames.schema import Frames, groups_of, rows_of
from beft.report.tables import selectors
from beft.report.tables.comparisons import ALPHA


def overview(frames: Frames, column: str = "best") -> dict:
    """What the page says first.

    Args:
        column: `best` or `last`, the epoch that a run's number is taken from.
    """
    rows = chosen.selection(frames, column)
    return {
        "answer": _answer(rows),
        "sure": _sure(frames, rows[~rows["unbeaten"].astype(bool)], column),
        "agreement": chosen.agreement(rows),
        "worth": selectors.in_words(frames, column),
        "board": _board(frames, rows),
    }


def _answer(rows: pd.DataFrame) -> dict:
    """Which term came out best, how often, and how sure: one entry per fact, counts only.

    Cells in which nothing beats guessing are counted apart: in those no term came out best.
    """
    cells = rows.drop_duplicates(CELL)
    decided = cells[cells["best"] != ""]
    unbeaten = decided["unbeaten"].astype(bool)
    decided = decided[~unbeaten]
    ahead = decided[~decided["best"].str.contains("/")]
    wins = {term: int((ahead["best"] == term).sum()) for term in chosen.TERMS}
    most = max(wins.values(), default=0)
    close = ahead.sort_values("lead", kind="stable").head(1)
    closest = [
        f"{100 * r.lead:.1f} points ({r.model}, {r.task}, {r.regime})" for r in rows_of(close)
    ]
    return {
        "top": [term for term, count in wins.items() if count == most] if len(ahead) else [],
        "wins": wins,
        "decided": len(decided),
        "ahead": len(ahead),
        "cells": len(cells),
        "unbeaten": int(unbeaten.sum()),
        "unanimous": int(((ahead["seeds_won"] == ahead["seeds"]) & (ahead["seeds"] > 0)).sum()),
        "closest": closest[0] if closest else "",
    }


def _sure(frames: Frames, rows: pd.DataFrame, column: str) -> dict:
    """In how many decided cells the best term is separated from every term it is compared with.

    Returns:
        `compared` cells; `apart`, those where every interval of the difference excludes zero;
        `runs` and `examples`, those where every corrected p-value of that kind is below `ALPHA`,
        and `tested_runs`, `tested_examples`, those that have such p-values.
    """
    counts = dict.fromkeys(
        ("compared", "apart", "runs", "tested_runs", "examples", "tested_examples"), 0
    )
    table = frames.comparisons
    table = table[table["epoch"].astype(str) == column]
    cells = rows.drop_duplicates(CELL).set_index(CELL)["best"]
    terms = [f"b_{term}" for term in chosen.TERMS]
    table = table[table["first"].isin(terms) & table["second"].isin(terms)]
    table = grid.of_first_split(frames, table)
    for place, part in groups_of(table, CELL):
        best = cells.get(place, "")
        part = part[(part["first"] == f"b_{best}") | (part["second"] == f"b_{best}")]
        if part.empty:
            continue
        signs = (part["first"] == f"b_{best}").map({True: 1, False: -1})
        lower = part["low"].where(signs > 0, -part["high"])
        counts["compared"] += 1
        counts["apart"] += bool((lower > 0).all())
        for kind in ("runs", "examples"):
            values = part[f"p_{kind}_corrected"].astype(float)
            counts[f"tested_{kind}"] += bool(values.notna().all())
            counts[kind] += bool((values < ALPHA).all())
    return counts


def _board(frames: Frames, rows: pd.DataFrame) -> list[dict]:
    """The answer as a grid: one row per model and task, one cell per regime."""
    board: dict[tuple[str, str], dict] = {}
    for (model, task, regime), part in groups_of(rows, CELL):
        first = part.iloc[0]
        line = board.setdefault((model, task), {"model": model, "task": task, "cells": {}})
        line["cells"][regime] = {
            "place": (model, task, regime, ""),
            "best": first["best"].split("/") if first["best"] else [],
            "lead": f"+{100 * first['lead']:.1f}" if math.isfinite(first["lead"]) else "",
            "won": f"{first['seeds_won']}/{first['seeds']}",
            "reason": first["reason"],
            "unbeaten": bool(first["unbeaten"]),
            "picks": [
                {"selector": row.selector, "term": row.selected, "agree": row.agree}
                for row in rows_of(part)
            ],
        }
    return list(board.values())
