"""Compute intervals of cells and comparisons of techniques by resampling runs and examples."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter

import numpy as np
import pandas as pd

from beft.report.frames.columns import KEYS
from beft.report.frames.schema import frame, groups_of
from beft.report.statistics import resampling
from beft.store.run_folder import open_run
from beft.store.run_format import Epoch
from beft.study.project import Project
from beft.tasks.metrics import sums

OTHERS = ("full", "lora", "all_biases", "random_uniform", "prefix")
PAIRS = (("b_v", "b_q"), ("b_v", "b_k"), ("b_q", "b_k"), *(("b_v", name) for name in OTHERS))
EPOCHS: tuple[Epoch, ...] = ("best", "last")
FEWEST = 3  # runs that give an interval where examples were not kept
DIGITS = 6  # of fractions: the last digits of a sum depend on the order that a processor adds in
GROUP = ["task", "split", "metric"]
Columns = dict[str, np.ndarray]  # split -> (n, k), see `Run.example_sums`
Examples = Callable[[str], dict[str, Columns]]  # digest -> epoch -> columns
Key = tuple[str, str]  # digest and epoch
Run = tuple[Key, float]  # and the metric

resamples = lru_cache(maxsize=1)(resampling.resamples)  # all cells of a task draw the same ones
swaps = lru_cache(maxsize=1)(resampling.swaps)


def collect(project: Project, runs: pd.DataFrame, evaluations: pd.DataFrame) -> dict:
    """The frames `intervals` and `comparisons` of a study.

    Args:
        runs, evaluations: the frames of these names.
    """
    recipes = {recipe.digest: recipe for recipe in project.recipes}

    def examples(digest: str) -> dict[str, Columns]:
        run = open_run(project.layout, recipes[digest])
        return {epoch: run.example_sums(epoch) for epoch in EPOCHS}

    return tables(runs, evaluations, examples)


def tables(
    runs: pd.DataFrame, evaluations: pd.DataFrame, examples: Examples = lambda digest: {}
) -> dict[str, pd.DataFrame]:
    """The frames `intervals` and `comparisons`.

    Only runs that are ok count, and of runs that differ in their settings alone the first.

    Args:
        runs, evaluations: the frames of these names.
        examples: a run's columns by its digest and epoch.
    """
    rows: dict[str, list[dict]] = {"intervals": [], "comparisons": []}
    for (task, split, metric), group in groups_of(_counted(runs, evaluations), GROUP):
        columns = {digest: examples(digest) for digest in group["digest"]}
        for (model, regime), part in groups_of(group, ["model", "regime"]):
            place = {"model": model, "task": task, "regime": regime, "split": split}
            kept: dict[Key, np.ndarray] = {
                (digest, epoch): table
                for digest in part["digest"]
                for epoch in EPOCHS
                if (table := columns[digest].get(epoch, {}).get(split)) is not None
            }
            answers = _resampled(metric, (task, split), kept)
            for epoch in EPOCHS:
                known = _by_technique(part, epoch)
                where = {**place, "epoch": epoch}
                for name, found in known.items():
                    told = {**where, "technique": name, **_interval(metric, found, answers)}
                    rows["intervals"].append(told)
                rows["comparisons"] += [
                    {**where, "first": first, "second": second, **told}
                    for first, second in PAIRS
                    if first in known and second in known
                    if (told := _comparison(metric, known[first], known[second], answers))
                ]
    return {
        "intervals": frame("intervals", rows["intervals"]),
        "comparisons": _corrected(frame("comparisons", rows["comparisons"])),
    }


def _counted(runs: pd.DataFrame, evaluations: pd.DataFrame) -> pd.DataFrame:
    """Join each run that counts with its reported metric: one row per run and split."""
    shown = runs.drop_duplicates([*KEYS, "seed"])  # as `cells.shown`
    fine = shown.loc[shown["status"] == "ok", [*KEYS, "seed", "digest", "metric"]]
    return fine.merge(evaluations, on=["digest", "metric"]).drop_duplicates(["digest", "split"])


def _by_technique(part: pd.DataFrame, epoch: str) -> dict[str, dict[int, Run]]:
    """Index the runs of a cell that have a value: technique -> seed, in order -> run."""
    found: dict[str, dict[int, Run]] = {}
    names = ("technique", "seed", "digest", epoch)
    rows = zip(*(part[name].tolist() for name in names), strict=True)
    for technique, seed, digest, value in sorted(rows, key=itemgetter(1)):
        if math.isfinite(value):
            found.setdefault(technique, {})[seed] = (digest, epoch), value
    return found


@dataclass(frozen=True)
class Answers:
    """The R runs and epochs of one cell on the same n examples, resampled.

    Attributes:
        index: digest and epoch -> index among the R.
        totals: sums of their columns, (R, k).
        values: their metric in each resample, (R, RESAMPLES).
        swapped: sums over the examples that change sides in each shuffle, (R, SWAPS, k).
    """

    metric: str
    n: int
    index: dict[Key, int]
    totals: np.ndarray
    values: np.ndarray
    swapped: np.ndarray

    def of(self, keys: Sequence[Key]) -> list[int] | None:
        """The indices of these runs; None where one of them has no examples."""
        return [self.index[key] for key in keys] if self.index.keys() >= set(keys) else None


def _resampled(metric: str, names: tuple[str, str], kept: dict[Key, np.ndarray]) -> Answers | None:
    """Resample the runs whose columns are known, on as many examples as the first of them."""
    if not kept:
        return None
    n = len(next(iter(kept.values())))
    there = {key: table for key, table in kept.items() if len(table) == n}
    width = max(table.shape[1] for table in there.values())
    columns = np.stack([_wide(table, width) for table in there.values()])
    totals = columns.sum(axis=1, dtype=np.float64)
    drawn = resampling.weigh(resamples(n, *names), columns)
    return Answers(
        metric,
        n,
        {key: place for place, key in enumerate(there)},
        totals,
        sums.value(metric, drawn, n),
        resampling.weigh(swaps(n, *names), columns),
    )


def _wide(table: np.ndarray, width: int) -> np.ndarray:
    """Columns of zeros at the end change no metric."""
    return np.pad(table, ((0, 0), (0, width - table.shape[1])))


def _interval(metric: str, found: dict[int, Run], answers: Answers | None) -> dict[str, object]:
    keys, values = zip(*found.values(), strict=True)
    places = answers.of(keys) if answers else None
    if answers is None or places is None:
        ends, answers = _over_runs(np.array(values)), None
    else:
        ends = resampling.interval(answers.values[places])
    return _bounds(np.clip(ends, sums.least(metric), 1), len(values), answers)


def _comparison(
    metric: str, first: dict[int, Run], second: dict[int, Run], answers: Answers | None
) -> dict[str, object]:
    """Compare two techniques over their common seeds; empty where there are none."""
    seeds = [seed for seed in first if seed in second]
    if not seeds:
        return {}
    pairs = [[side[seed] for seed in seeds] for side in (first, second)]
    ours, theirs = (answers.of([k for k, _ in p]) if answers else None for p in pairs)
    differences = np.array([a - b for (_, a), (_, b) in zip(*pairs, strict=True)])
    told = {
        "difference": round(float(differences.mean()), DIGITS),
        "p_runs": resampling.flip_test(differences),
        "p_examples": math.nan,
    }
    widest = 1 - sums.least(metric)  # two values of the metric are no further apart
    if answers is None or ours is None or theirs is None:
        ends = np.clip(_over_runs(differences), -widest, widest)
        return told | _bounds(ends, len(seeds), None)
    totals = answers.totals[ours], answers.totals[theirs]
    swapped = answers.swapped[ours], answers.swapped[theirs]
    told["p_examples"] = resampling.swap_test(answers.metric, totals, swapped, answers.n)
    bounds = resampling.interval(answers.values[ours] - answers.values[theirs])
    return told | _bounds(np.clip(bounds, -widest, widest), len(seeds), answers)


def _over_runs(values: np.ndarray) -> tuple[float, float]:
    """Compute an interval from the runs alone; undefined below `FEWEST` runs."""
    if len(values) < FEWEST:
        return math.nan, math.nan
    return resampling.interval(np.tile(values[:, None], resampling.RESAMPLES))


def _bounds(ends: np.ndarray, runs: int, answers: Answers | None) -> dict[str, object]:
    """Lay out an interval with its counts of runs and examples, and a note on what it lacks."""
    low, high = map(float, ends)
    note = "" if answers else "over runs alone: what each example adds was not kept"
    if math.isnan(low):
        note = f"fewer than {FEWEST} runs, and what each example adds was not kept"
    elif runs == 1:
        note = "one run: over examples alone"
    return {
        "low": round(low, DIGITS),
        "high": round(high, DIGITS),
        "runs": runs,
        "examples": answers.n if answers else 0,
        "note": note,
    }


def _corrected(table: pd.DataFrame) -> pd.DataFrame:
    """Apply Holm's correction over all comparisons of the study, for each kind of epoch."""
    if table.empty:
        return table
    tested = table[["p_runs", "p_examples"]].notna().any(axis=1)
    epochs = table.groupby("epoch", sort=False)
    return table.assign(
        p_runs_corrected=epochs["p_runs"].transform(_holm),
        p_examples_corrected=epochs["p_examples"].transform(_holm),
        family=tested.groupby(table["epoch"]).transform("sum"),
    )


def _holm(p_values: pd.Series) -> pd.Series:
    return pd.Series(resampling.holm(p_values.to_numpy(float)), p_values.index)
