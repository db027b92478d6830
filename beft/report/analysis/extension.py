"""Metric and score of each term over learning rates and epochs (section 3.4 of the paper)."""

import math
from dataclasses import dataclass, replace

import pandas as pd

from beft.report.analysis import cells as grid
from beft.report.analysis import selection as chosen
from beft.report.frames.columns import CELL
from beft.report.frames.schema import Frames, groups_of

SELECTOR, ALL = "projection", "all_biases"
TERMS = ("v", "q", "k")
TECHNIQUES = ("b_v", "b_q", "b_k", ALL)
SETTING = ["learning_rate", "epochs"]
TIDY = [*CELL, *SETTING, "technique", "epoch", "split", "metric", "mean", "std", "n"]
TIDY += ["planned", "guessing", "score", "scored", "status", "reason"]


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


def settings(frames: Frames) -> list[Setting]:
    """Every setting of the places where some technique has several, else of all places."""
    runs = frames.runs[frames.runs["technique"].isin(TECHNIQUES)]
    there: dict[tuple, set] = {}
    several = set()
    for (*place, _), part in groups_of(runs, [*CELL, "technique"]):
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
    groups = scored[scored["selector"] == SELECTOR].groupby("epoch")[list(TERMS)]
    wide = pd.DataFrame(curves.unstack("technique"))
    wide.columns = [" ".join(column) for column in wide.columns]
    means, counts = groups.mean().add_prefix("score "), groups.count().add_prefix("scored ")
    table = wide.join([means, counts], how="outer").sort_index()
    return Setting(place, float(rate), int(length), table, part)


def facts(setting: Setting) -> pd.DataFrame:
    """One row per technique and epoch, with `TIDY`; one without epoch where none was finished."""
    cells, rows = grid.cells(setting.frames, "last"), []
    place = dict(zip(CELL, setting.place, strict=True))
    metric = "".join(setting.frames.runs["metric"].dropna().iloc[:1])
    for technique in TECHNIQUES:
        term = technique.removeprefix("b_")
        cell = grid.at(cells, *setting.place, technique, setting.split)
        if cell is None:
            continue
        for epoch in list(setting.epochs.index) or [None]:
            known = {
                what: value_at(setting, epoch, f"{what} {technique}") for what in ("mean", "std")
            }
            known |= {"n": value_at(setting, epoch, f"count {technique}", 0)}
            known |= {"score": value_at(setting, epoch, f"score {term}")}
            known |= {"scored": value_at(setting, epoch, f"scored {term}", 0)}
            told = {key: cell[key] for key in ("planned", "guessing", "status", "reason")}
            where = {"learning_rate": setting.learning_rate, "epochs": setting.length,
                     "technique": technique, "epoch": epoch}  # fmt: skip
            rows.append(place | where | {"split": setting.split, "metric": metric} | known | told)
    table = pd.DataFrame(rows, columns=TIDY)
    return table.astype({"n": int, "scored": int})


def value_at(setting: Setting, epoch: int | None, column: str, missing: float = math.nan) -> float:
    """What is known after an epoch."""
    table = setting.epochs
    value = table[column].get(epoch, math.nan) if column in table else math.nan
    return missing if pd.isna(value) else float(value)


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
    from scipy.stats import spearmanr

    return float(spearmanr(points["score"], points["metric"]).statistic), len(points)
