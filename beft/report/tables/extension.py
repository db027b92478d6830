"""Table `extension` (section 3.4): metric and score of each term over learning rates and epochs."""

import math
from collections.abc import Iterator

import pandas as pd

from beft.report.analysis import cells as grid
from beft.report.analysis import guessing
from beft.report.analysis.extension import (
    ALL,
    TECHNIQUES,
    TERMS,
    TIDY,
    Setting,
    correlation,
    facts,
    settings,
    value_at,
)
from beft.report.frames.schema import Frames
from beft.report.tables.table import DASH, Part, Shown, Table, name, percent

COLUMNS = (
    *("task", "regime", "learning rate", "epochs", *TECHNIQUES, "guessing", "score v", "score q"),
    *("score k", "b_v minus all", "gaps over epochs"),
)
NOTES = (
    "Metrics (%) and projection scores after the last epoch, means over seeds ± sample deviation, "
    "n the number of runs that count; scores are those of the runs of all_biases.",
    "b_v minus all: the mean over seeds of b_v's metric minus that of all_biases, in points, and "
    "the seeds in which b_v is ahead.",
    "Gaps: Spearman's correlation, over n points, of the score of v minus that of q with the "
    "metric of b_v minus that of b_q. Epochs of one run depend on each other, so it has no "
    "p-value.",
    "Runs of every setting of the study are shown, its first and its further ones.",
)


def extension(frames: Frames) -> Table:
    """Final metrics and scores at every learning rate, and how their gaps go together."""
    found = settings(frames)
    tidy = pd.concat([facts(s) for s in found]) if found else pd.DataFrame(columns=TIDY)
    models: dict[str, list] = {}
    for setting in found:
        models.setdefault(setting.place[0], []).append(_row(setting))
    parts = [Part(model, COLUMNS, 4, tuple(rows)) for model, rows in models.items()]
    if found:
        parts.append(_together(found))
    title = "Metric and score of each term over learning rates and epochs"
    notes = NOTES if found else ()
    return Table("extension", title, notes, tuple(parts), tidy.reset_index(drop=True))


def _row(setting: Setting) -> tuple[Shown, ...]:
    cells = grid.cells(setting.frames, "last")
    _, task, regime = setting.place
    found = [grid.at(cells, *setting.place, each, setting.split) for each in TECHNIQUES]
    rates = guessing.rates(setting.frames)
    rate = Shown(percent(rates.get((*setting.place, setting.split), math.nan)))
    head = (task, regime, f"{setting.learning_rate:g}", str(setting.length))
    rank, n = correlation([setting])
    metrics = (*map(_cell, found), rate)
    return (*map(name, head), *metrics, *_scores(setting), _ahead(setting), _signed(rank, f"n={n}"))


def _cell(cell) -> Shown:
    if cell is None:
        return Shown(DASH, problem="not planned", reason="not part of this study")
    spread = f"± {percent(cell['std'])} " if math.isfinite(cell["std"]) else ""
    spread = f"{spread}(n={cell['n']})" if cell["n"] else ""
    return Shown(percent(cell["mean"]), spread, problem=cell["problem"], reason=cell["reason"])


def _scores(setting: Setting) -> Iterator[Shown]:
    for term in TERMS:
        value = value_at(setting, setting.length, f"score {term}")
        yield Shown(f"{value:.3f}" if math.isfinite(value) else DASH)


def _ahead(setting: Setting) -> Shown:
    """Whether b_v beats all biases, seed by seed."""
    rows = grid.measured(setting.frames, "last")
    rows = rows[rows["split"] == setting.split]
    wide = {t: part.set_index("seed")["value"] for t, part in rows.groupby("technique")}
    if not {"b_v", ALL} <= set(wide):
        return Shown(DASH)
    apart = (wide["b_v"] - wide[ALL]).dropna()
    won = f"{int((apart > 0).sum())}/{len(apart)} seeds"
    return Shown(f"{100 * apart.mean():+.1f}", f"({won})") if len(apart) else Shown(DASH)


def _together(found: list[Setting]) -> Part:
    """How the gaps go together over the learning rates of each place."""
    places: dict[tuple, list[Setting]] = {}
    for setting in found:
        places.setdefault(setting.place, []).append(setting)
    rows = []
    for place, own in places.items():
        (rank, n), (last, rates) = correlation(own), correlation(own, final=True)
        rows.append((*map(name, place), _signed(rank, f"n={n}"), _signed(last, f"n={rates}")))
    columns = ("model", "task", "regime", "over rates and epochs", "over rates, last epochs")
    return Part("score gap of v and q against metric gap", columns, 3, tuple(rows))


def _signed(value: float, spread: str) -> Shown:
    return Shown(f"{value:+.2f}", f"({spread})") if math.isfinite(value) else Shown(DASH)
