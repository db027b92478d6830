"""Summarise runs as cells: mean, deviation, number of runs, and why a number is missing."""

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import TypeVar

import numpy as np
import pandas as pd

from beft.errors import one_line
from beft.report.analysis import constant, precision
from beft.report.frames.columns import CELL, KEYS
from beft.report.frames.schema import Frames, derived, rows_of

STATUSES = ("ok", "diverged", "failed", "skipped", "missing")
VALUES = ["mean", "std", "n", "planned", "status", "short", "problem", "reason", "precision"]
VALUES += ["guessing"]
MEASURED = ["seed", "digest", "status", "split", "value", "guessing", "reason"]
MEASUREMENT = "untuned"  # trains nothing: only its gradients are used
Name = TypeVar("Name")
EXPLAINED = {"best": "best epoch of each run", "last": "last epoch of each run"}


def order(frames: Frames, name: str) -> list[str]:
    """Names in order of display: as the study lists them, then any others that were run.

    Args:
        name: `model`, `task`, `regime` or `technique`. Models and tasks are mappings in the
            settings, whose JSON may have been sorted; the runs stand in the study's order.
    """
    listed = frames.settings.get(f"{name}s", [])
    seen = [str(item) for item in frames.runs[name].dropna().unique()]
    first = list(listed) if isinstance(listed, list) else [item for item in seen if item in listed]
    return list(dict.fromkeys([*map(str, first), *map(str, listed), *seen]))


def of_kind(frames: Frames, kind: str) -> Frames:
    """Keep only the encoders, or only the decoders, of a study; see `of_models`."""
    kinds = {
        alias: m.get("kind", "encoder") for alias, m in frames.settings.get("models", {}).items()
    }
    return of_models(frames, [m for m in order(frames, "model") if kinds.get(m, "encoder") == kind])


def of_models(frames: Frames, models: Iterable[str]) -> Frames:
    """Keep only the runs and scores of these models, and the tasks and regimes they have."""
    return _only(frames, "model", list(models))


@derived
def shown(frames: Frames) -> Frames:
    """Drop runs that differ from an earlier run only in their settings.

    A table has one place for a (model, task, regime, technique, seed); a mean over runs of several
    learning rates would be a number of none of them.
    """
    return replace(frames, runs=frames.runs.drop_duplicates([*KEYS, "seed"]))


def first_regime(frames: Frames, model: str) -> Frames:
    """Keep only one model, in the first of its regimes, which is its smallest."""
    own = of_models(frames, [model])
    return _only(own, "regime", order(own, "regime")[:1])


def scoped(frames: Frames, name: str) -> Frames:
    """Keep the cells of a table or figure: in a union, those of the studies that ask for it."""
    scopes = frames.settings.get("scopes", {})
    if name not in scopes:
        return frames
    places = pd.MultiIndex.from_tuples(map(tuple, scopes[name]), names=CELL)
    kept = {
        table: own[pd.MultiIndex.from_frame(own[CELL]).isin(places)]
        for table in ("runs", "scores", "gradients", "intervals", "comparisons", "timings")
        if len(own := getattr(frames, table))
    }
    return _of(replace(frames, **kept))


def _only(frames: Frames, key: str, names: list[str]) -> Frames:
    runs = frames.runs[frames.runs[key].isin(names)]
    scores = frames.scores[frames.scores[key].isin(names)]
    return _of(replace(frames, runs=runs, scores=scores))


def _of(frames: Frames) -> Frames:
    """Drop the names from the settings that no run has."""
    runs, settings = frames.runs, dict(frames.settings)
    for name in KEYS:
        listed, there = settings.get(f"{name}s"), set(runs[name].dropna().astype(str))
        if isinstance(listed, dict):
            settings[f"{name}s"] = {item: value for item, value in listed.items() if item in there}
        elif listed is not None:
            settings[f"{name}s"] = [item for item in listed if str(item) in there]
    return replace(frames, settings=settings)


@derived
def reported(frames: Frames) -> pd.DataFrame:
    """The evaluations in the metric that their run reports, one row per run and split."""
    metrics = frames.runs[["digest", "metric"]].drop_duplicates("digest")
    found = frames.evaluations.merge(metrics, on=["digest", "metric"])
    return found.drop_duplicates(["digest", "split"])


@derived
def splits(frames: Frames) -> dict[str, list[str]]:
    """The validation splits of each task, in the order in which they were evaluated."""
    tasks = frames.runs[["digest", "task"]].drop_duplicates("digest")
    seen = reported(frames).merge(tasks, on="digest")
    found = {task: list(dict.fromkeys(part["split"])) for task, part in seen.groupby("task")}
    return {task: found.get(task, ["validation"]) for task in order(frames, "task")}


def column_label(task: str, split: str) -> str:
    """`mnli_matched` for the split `validation_matched`; the task's name for `validation`."""
    return task + split.removeprefix("validation")


def first_split(frames: Frames, task: str) -> str:
    """The split that stands for a task where only one number is shown."""
    return splits(frames).get(task, ["validation"])[0]


def of_first_split(frames: Frames, table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table that are about the first validation split of their task."""
    first = {task: names[0] for task, names in splits(frames).items()}
    return table[table["split"] == table["task"].map(first)]


@derived
def measured(frames: Frames, column: str = "best") -> pd.DataFrame:
    """One row per run and split: the keys and `MEASURED`.

    Args:
        column: `best` (best epoch of the run) or `last` (last epoch).

    Runs that are not ok keep one row per split of their task with an undefined value. A value
    that is not finite is undefined too.
    """
    if frames.runs.empty:
        return pd.DataFrame(columns=[*KEYS, *MEASURED])
    known = splits(frames)
    runs = frames.runs[[*KEYS, "seed", "digest", "status", column]].rename(
        columns={column: "fallback"}
    )
    runs = runs.assign(split=runs["task"].map(lambda task: known[str(task)])).explode("split")
    values = reported(frames).reindex(columns=["digest", "split", column, "guessing"])
    values = values.rename(columns={column: "value"})
    rows = runs.merge(values, "left", ["digest", "split"])
    lead = rows["split"] == rows["task"].map(lambda task: known[str(task)][0])
    value = pd.to_numeric(rows["value"].where(rows["value"].notna() | ~lead, rows["fallback"]))
    usable = (rows["status"] == "ok") & np.isfinite(value.fillna(math.nan).to_numpy(float))
    reasons = frames.problems.drop_duplicates("digest").set_index("digest")["reason"]
    return rows.assign(
        value=value.where(usable),
        guessing=pd.to_numeric(rows["guessing"]).astype(float),
        reason=rows["digest"].map(reasons).fillna("").astype(str),
    ).drop(columns="fallback")


@derived
def cells(frames: Frames, column: str = "best") -> pd.DataFrame:
    """One row per (model, task, regime, technique, split) that the study plans.

    Returns:
        `VALUES`: mean and std are fractions (std: sample deviation, undefined below two runs),
        n the runs that count, planned all of them; status is `ok` when every run counts, `partial`
        when some do, else what became of them; short and reason say why runs do not count, problem
        and reason also that they differ in precision, which precision gives, or predict the same
        for every example; guessing is what guessing gives, a fraction.
    """
    rows, keys = measured(frames, column), [*KEYS, "split"]
    if rows.empty:
        return pd.DataFrame(columns=[*keys, *VALUES]).set_index(keys, drop=False)
    groups = rows.groupby(keys, sort=False)
    table = groups["value"].agg(mean="mean", std="std", n="count", planned="size").reset_index()
    table["guessing"] = groups["guessing"].first().to_numpy()
    lost: dict[tuple, list[tuple[str, str]]] = {}  # of each cell: status and reason of its runs
    bad = rows.loc[rows["value"].isna(), [*keys, "status", "reason"]]
    for *key, status, reason in bad.itertuples(index=False, name=None):
        lost.setdefault(tuple(key), []).append((status, reason))
    stories = [
        story(lost.get(tuple(key), []), n, planned)
        for *key, n, planned in table[[*keys, "n", "planned"]].itertuples(index=False, name=None)
    ]
    told = pd.DataFrame(stories, columns=["status", "short", "reason"], index=table.index)
    table = precision.told(table.join(told), frames)
    if column == "best":  # the epoch of which it is known
        first = {task: names[0] for task, names in splits(frames).items()}
        table = constant.told(table, frames, first)
    return table[[*keys, *VALUES]].set_index(keys, drop=False)


def at(table: pd.DataFrame, *key: str) -> pd.Series | None:
    """One of `cells`, by model, task, regime, technique and split; None where none is planned."""
    return table.loc[[key]].iloc[0] if key in table.index else None


def story(lost: list[tuple[str, str]], n: int, planned: int) -> tuple[str, str, str]:
    """Status of a cell, a few words for it, and the whole reason with every distinct message.

    Args:
        lost: status and reason of every run that does not count.
        n: runs that count.
        planned: all runs.
    """
    reasons: dict[str, list[str]] = {}
    for status, reason in lost:
        # A run that is ok and does not count has a value that is not finite.
        reasons.setdefault("undefined" if status == "ok" else status, []).append(reason)
    short, full = [], []
    for state, said in sorted(reasons.items()):
        inert = state == "skipped" and any("inert" in reason for _, reason in lost)
        alone = state in ("missing", "skipped") and len(said) == planned
        words = state if alone else f"{len(said)}/{planned} {state}"
        short.append(f"{words}: inert" if inert else words)
        messages = "; ".join(filter(None, sorted(set(map(one_line, said)))))
        full.append(f"{words}: {messages}" if messages and state != "undefined" else words)
    status = "+".join(sorted(reasons)) or "ok"
    return "partial" if n and lost else status, ", ".join(short), ", ".join(full)


def grouped(table: pd.DataFrame, keys: list[str]) -> dict[tuple, list]:
    """The rows of each group, in order of appearance; a frame for each group would take longer."""
    found: dict[tuple, list] = {}
    columns = [table[key].tolist() for key in keys]
    for key, row in zip(zip(*columns, strict=True), rows_of(table), strict=True):
        found.setdefault(key, []).append(row)
    return found


def ties(values: Iterable[tuple[Name, float]], place: int = 1) -> list[Name]:
    """The names with the highest value; several when they are equal, none when none is finite.

    Args:
        place: 2 for the names with the second highest of the distinct values.
    """
    left = [(name, value) for name, value in values if math.isfinite(value)]
    best: list[Name] = []
    for _ in range(place):
        top = max((value for _, value in left), default=math.nan)
        best = [name for name, value in left if math.isclose(value, top, rel_tol=0, abs_tol=1e-12)]
        left = [pair for pair in left if pair[0] not in best]
    return best
