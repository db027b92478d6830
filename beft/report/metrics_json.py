"""Summarise the study as one small JSON file, which `dvc metrics diff` compares."""

import json
import math

from beft.report.analysis import cells as grid
from beft.report.analysis import guessing, judged
from beft.report.analysis import selection as chosen
from beft.report.frames.schema import Frames, rows_of

WORTH = [f"{name}{end}" for name in ("regret", "gain") for end in ("", "_low", "_high")]


def metrics_json(frames: Frames) -> dict:
    """Mean metrics, agreement of the selectors, and counts of runs.

    Metrics and agreement are of the runs that tables show (`cells.shown`), counts are of all.

    Returns:
        `best`: {model: {task: {regime: {technique: mean over seeds of the best epoch}}}}, fractions
        with six digits, None where no run counts; a task with several validation splits has a key
        of its own for each further one. `guessing`: {model: {task: {regime: what guessing gives}}},
        without those of which nothing is known; `nothing_beats_guessing`: the number of (model,
        task, regime) in which nothing beats it on the first split, None where nothing is known.
        `selection`: {selector: {agree, decided (choices that can be right or wrong), cells,
        none_ahead (cells in which no term is ahead), share, and regret and gain (over always v)
        with the ends of their intervals, fractions}}. `runs`: {status: count}.
    """
    best: dict = {}
    counted = run_counts(frames)
    frames = grid.shown(frames)
    for row in rows_of(grid.cells(frames)):
        first = grid.first_split(frames, row.task) == row.split
        task = row.task if first else grid.column_label(row.task, row.split)
        value = round(row.mean, 6) if math.isfinite(row.mean) else None
        place = best.setdefault(row.model, {}).setdefault(task, {}).setdefault(row.regime, {})
        place[row.technique] = value
    rates: dict = {}
    for (model, task, regime, split), rate in guessing.rates(frames).items():
        first = grid.first_split(frames, task) == split
        label = task if first else grid.column_label(task, split)
        rates.setdefault(model, {}).setdefault(label, {})[regime] = round(rate, 6)
    unbeaten = len(guessing.unbeaten_cells(frames)) if rates else None
    counts = chosen.agreement(chosen.selection(frames))
    worth = judged.summary(frames, apart=False).set_index("selector")
    judgement = {
        selector: {
            **count,
            "share": _rounded(count["agree"] / count["decided"] if count["decided"] else None),
            **{key: _rounded(worth[key].get(selector)) for key in WORTH},
        }
        for selector, count in counts.items()
    }
    return {
        "best": best,
        "guessing": rates,
        "nothing_beats_guessing": unbeaten,
        "selection": judgement,
        "runs": counted,
    }


def _rounded(value: float | None) -> float | None:
    """Round to six digits; None for an undefined number, which JSON cannot express."""
    return None if value is None or not math.isfinite(value) else round(float(value), 6)


def run_counts(frames: Frames) -> dict[str, int]:
    """Count the runs of each status; every known status is listed."""
    counted = frames.runs["status"].value_counts()
    return {status: int(counted.get(status, 0)) for status in grid.STATUSES}


def dump(content: dict) -> str:
    """JSON text with sorted keys; not-a-number is an error rather than invalid JSON."""
    return json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n"
