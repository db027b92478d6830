"""The numbers of each figure as a frame, and what they say in words."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from beft.report.analysis import cells as grid
from beft.report.analysis import selection as chosen
from beft.report.figures import cost, curves, importance
from beft.report.figures.zero_shot import COMPARED
from beft.report.frames.columns import CELL, KEYS
from beft.report.frames.schema import Frames, groups_of, rows_of


@dataclass(frozen=True)
class Numbers:
    """The numbers of a figure, and a sentence or two about them for those who do not see it."""

    data: pd.DataFrame
    words: str


def numbers_of(name: str, frames: Frames) -> Numbers | None:
    """The numbers of a figure; None where a table of its name has them, or nothing is drawn."""
    found = KNOWN[name](frames) if name in KNOWN else None
    return found if found is not None and len(found.data) else None


def _ranks(most: int) -> Callable[[Frames], Numbers]:
    def made(frames: Frames) -> Numbers:
        shown, tasks = importance.drawn(frames, most)
        scores = shown.scores[
            (shown.scores["layer"].astype(str) == "mean")
            & shown.scores["task"].isin(tasks)
            & shown.scores["term"].isin(chosen.TERMS)
            & shown.scores["selector"].isin(importance.SELECTORS)
        ]
        keys = [*CELL, "selector", "term"]
        means = scores.groupby(keys, sort=False)["rank"].mean().reset_index(name="mean_rank")
        metric = _leading(shown)
        terms = [f"b_{term}" for term in chosen.TERMS]
        metric = metric[metric["technique"].isin(terms) & metric["task"].isin(tasks)]
        metric = metric.assign(term=metric["technique"].str.removeprefix("b_"), selector="metric")
        words = [
            f"Mean {selector} rank: {_of_terms(part, 'mean_rank', 1)}."
            for selector, part in groups_of(means, "selector")
        ]
        if metric["mean"].notna().any():
            words.append(f"Mean metric in percent: {_of_terms(metric, 'mean', 100)}.")
        columns = [*keys, "mean", "std", "n"]
        return Numbers(pd.concat([means, metric[columns]], ignore_index=True), " ".join(words))

    return made


def _of_terms(part: pd.DataFrame, column: str, factor: float) -> str:
    means = part.astype({column: float}).groupby("term")[column].mean().dropna() * factor
    return ", ".join(f"{term} {means[term]:.1f}" for term in chosen.TERMS if term in means)


def _layers(frames: Frames) -> Numbers:
    scores = frames.scores[frames.scores["layer"].astype(str) != "mean"]
    scores = scores.assign(rank=scores["rank"].where(scores["score"].notna()))
    keys = ["model", "selector", "term", "layer"]
    data = scores.groupby(keys, sort=False)["rank"].mean().reset_index(name="mean_rank")
    means = data.groupby(["model", "selector", "term"], sort=False)["mean_rank"].mean()
    words = []
    known = means.dropna().reset_index()
    for (model, selector), part in groups_of(known, ["model", "selector"]):
        top = part.iloc[int(part["mean_rank"].to_numpy().argmin())]
        words.append(f"{model}, {selector}: {top['term']} with mean rank {top['mean_rank']:.1f}")
    if len(words) > 12:
        words = [*words[:12], f"and {len(words) - 12} more"]
    return Numbers(data, f"The most important term over all layers: {'; '.join(words)}.")


def _curves(frames: Frames) -> Numbers:
    data = curves.drawn(frames)
    ends = data[data["epoch"] == data.groupby(KEYS)["epoch"].transform("max")]
    terms = ends.groupby("technique", sort=False)["mean"].mean()
    said = ", ".join(f"{name} {100 * value:.1f}" for name, value in terms.items())
    return Numbers(data, f"Mean of the curves' last points in percent: {said}.")


def _zero_shot(frames: Frames) -> Numbers:
    table = _leading(grid.of_kind(frames, "decoder"))
    data = table[table["technique"].isin(COMPARED)][[*KEYS, "mean", "std", "n"]]
    means = data.groupby("technique")["mean"].mean().dropna()
    said = ", ".join(f"{name} {100 * means[name]:.1f}" for name in COMPARED if name in means)
    return Numbers(data, f"Mean metric in percent: {said}.")


def _cost(frames: Frames) -> Numbers:
    parts = []
    for model in grid.order(frames, "model")[: cost.MOST]:
        table, tasks = cost.techniques(grid.first_regime(frames, model))
        table = table.reset_index(names="technique").assign(model=model, tasks=", ".join(tasks))
        parts.append(table)
    data = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    if data.empty:
        return Numbers(data, "")
    data = data[["model", "technique", "metric", *cost.QUANTITIES, "tasks"]]
    tops = data.dropna(subset=["metric"]).sort_values("metric", ascending=False, kind="stable")
    said = "; ".join(
        f"{row.model}: {row.technique} {row.metric:.1f} with {row.trainable_params:.0f} parameters"
        for row in rows_of(tops.drop_duplicates("model"))
    )
    return Numbers(data, f"The highest metric in percent of each model: {said}.")


def _leading(frames: Frames) -> pd.DataFrame:
    """The cells of the first split of each task."""
    table = grid.cells(frames).reset_index(drop=True)
    return grid.of_first_split(frames, table)


KNOWN: dict[str, Callable[[Frames], Numbers]] = {
    "figure1": _ranks(1),
    "figure4": _ranks(3),
    "layers": _layers,
    "curves": _curves,
    "zero_shot": _zero_shot,
    "cost": _cost,
}
