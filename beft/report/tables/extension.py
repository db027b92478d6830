"""Table `extension` (section 3.4): metric and score of each term over learning rates and epochs."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pandas as pd
from scipy.stats import spearmanr

from beft.report.analysis import cells as grid
from beft.report.analysis import selection as chosen
from beft.report.frames.columns import CELL
from beft.report.frames.schema import Frames
from beft.report.tables.table import DASH, Part, Shown, Table, name, percent

SELECTOR, ALL = "projection", "all_biases"
TERMS = ("v", "q", "k")
TECHNIQUES = ("b_v", "b_q", "b_k", ALL)
SETTING = ["learning_rate", "epochs"]
TIDY = [*CELL, *SETTING, "technique", "epoch", "split", "metric", "mean", "std", "n"]
TIDY += ["planned", "score", "scored", "status", "reason"]
COLUMNS = ("task", "regime", "learning rate", "epochs", *TECHNIQUES, "score v", "score q")
COLUMNS += ("score k", "b_v minus all", "gaps over epochs")
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


@dataclass(frozen=True)
class Setting:
    """The runs of one place at one learning rate and number of epochs.

    Attributes:
        epochs: one row per epoch: score_T and metric_T of each term, metric of all biases.
        frames: its runs alone.
    """

    place: tuple[str, str, str]
    learning_rate: float
    length: int
    epochs: pd.DataFrame
    frames: Frames

    @property
    def split(self) -> str:
        return grid.first_split(self.frames, self.place[1])


def extension(frames: Frames) -> Table:
    """Final metrics and scores at every learning rate, and how their gaps go together."""
    found = settings(frames)
    tidy = pd.concat([_tidy(s) for s in found]) if found else pd.DataFrame(columns=TIDY)
    models: dict[str, list] = {}
    for setting in found:
        models.setdefault(setting.place[0], []).append(_row(setting))
    parts = [Part(model, COLUMNS, 4, tuple(rows)) for model, rows in models.items()]
    if found:
        parts.append(_together(found))
    title = "Metric and score of each term over learning rates and epochs"
    notes = NOTES if found else ()
    return Table("extension", title, notes, tuple(parts), tidy.reset_index(drop=True))


def settings(frames: Frames) -> list[Setting]:
    """Every setting of the places where some technique has several, else of all places."""
    runs = frames.runs[frames.runs["technique"].isin(TECHNIQUES)]
    there: dict[tuple, set] = {}
    several = set()
    for (*place, _), part in runs.groupby([*CELL, "technique"], sort=False):
        found = set(part[SETTING].itertuples(index=False, name=None))
        there.setdefault(tuple(place), set()).update(found)
        if len(found) > 1:
            several.add(tuple(place))
    return [
        _setting(frames, runs, place, *setting)
        for place in chosen.places(frames)
        if place in (several or there)
        for setting in sorted(there[place])
    ]


def _setting(frames: Frames, runs: pd.DataFrame, place, rate: float, length: int) -> Setting:
    own = (runs[[*CELL, *SETTING]] == [*place, rate, length]).all(axis=1)
    part = grid.shown(replace(frames, runs=runs[own]))
    ok = part.runs.loc[part.runs["status"] == "ok", ["digest", "technique"]]
    known = frames.history.merge(ok, on="digest")
    known = known[known["split"] == grid.first_split(part, place[1])]
    curves = known.groupby(["epoch", "technique"])["value"].agg(["mean", "std", "count"])
    scored = frames.trajectories.merge(ok[ok["technique"] == ALL][["digest"]], on="digest")
    scored = scored[scored["selector"] == SELECTOR].groupby("epoch")[list(TERMS)]
    wide = curves.unstack("technique")
    wide.columns = [f"{what} {technique}" for what, technique in wide.columns]
    means, counts = scored.mean().add_prefix("score "), scored.count().add_prefix("scored ")
    table = wide.join([means, counts], how="outer").sort_index()
    return Setting(place, float(rate), int(length), table, part)


def _tidy(setting: Setting) -> pd.DataFrame:
    """One row per technique and epoch, with `TIDY`; one without epoch where none was finished."""
    cells, rows = grid.cells(setting.frames, "last"), []
    place = dict(zip(CELL, setting.place, strict=True))
    metric = "".join(setting.frames.runs["metric"].dropna().iloc[:1])
    for technique in TECHNIQUES:
        key = (*setting.place, technique, setting.split)
        if key not in cells.index:
            continue
        cell, term = cells.loc[key], technique.removeprefix("b_")
        for epoch in list(setting.epochs.index) or [None]:
            known = {what: _of(setting, epoch, f"{what} {technique}") for what in ("mean", "std")}
            known |= {"n": _of(setting, epoch, f"count {technique}", 0)}
            known |= {"score": _of(setting, epoch, f"score {term}")}
            known |= {"scored": _of(setting, epoch, f"scored {term}", 0)}
            told = {key: cell[key] for key in ("planned", "status", "reason")}
            where = {"learning_rate": setting.learning_rate, "epochs": setting.length,
                     "technique": technique, "epoch": epoch}  # fmt: skip
            rows.append(place | where | {"split": setting.split, "metric": metric} | known | told)
    table = pd.DataFrame(rows, columns=TIDY)
    return table.astype({"n": int, "scored": int})


def _of(setting: Setting, epoch: int | None, column: str, missing: float = math.nan) -> float:
    """What is known after an epoch."""
    table = setting.epochs
    value = table[column].get(epoch, math.nan) if column in table else math.nan
    return missing if pd.isna(value) else float(value)


def _row(setting: Setting) -> tuple[Shown, ...]:
    cells = grid.cells(setting.frames, "last")
    _, task, regime = setting.place
    metrics = []
    for technique in TECHNIQUES:
        key = (*setting.place, technique, setting.split)
        metrics.append(_cell(cells.loc[key] if key in cells.index else None))
    head = (task, regime, f"{setting.learning_rate:g}", str(setting.length))
    rank, n = correlation([setting])
    return (*map(name, head), *metrics, *_scores(setting), _ahead(setting), _signed(rank, f"n={n}"))


def _cell(cell) -> Shown:
    if cell is None:
        return Shown(DASH, problem="not planned", reason="not part of this study")
    spread = f"± {percent(cell['std'])} " if math.isfinite(cell["std"]) else ""
    spread = f"{spread}(n={cell['n']})" if cell["n"] else ""
    return Shown(percent(cell["mean"]), spread, problem=cell["short"], reason=cell["reason"])


def _scores(setting: Setting) -> Iterator[Shown]:
    for term in TERMS:
        value = _of(setting, setting.length, f"score {term}")
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


def gaps(setting: Setting) -> pd.DataFrame:
    """After each epoch, where both are known: the score's and the metric's gap between v and q."""
    table = setting.epochs
    columns = ["score v", "score q", "mean b_v", "mean b_q"]
    if any(column not in table for column in columns):
        return pd.DataFrame(columns=["score", "metric"])
    apart = {"score": table["score v"] - table["score q"],
             "metric": table["mean b_v"] - table["mean b_q"]}  # fmt: skip
    return pd.DataFrame(apart).dropna()


def correlation(found: list[Setting], final: bool = False) -> tuple[float, int]:
    """Spearman's correlation of the two gaps over all epochs, or the last ones, and n points."""
    parts = [gaps(setting) for setting in found]
    parts = [part[part.index == s.length] if final else part
             for part, s in zip(parts, found, strict=True)]  # fmt: skip
    points = pd.concat(parts).astype(float)
    if len(points) < 2 or (points.nunique() < 2).any():
        return math.nan, len(points)
    return float(spearmanr(points["score"], points["metric"]).statistic), len(points)


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
