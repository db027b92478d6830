"""Tables 5 and 6: decoders, every technique's metric per task beside its trained share."""

import math
from dataclasses import replace
from itertools import chain

import pandas as pd

from beft.report.analysis import cells as grid
from beft.report.frames.columns import CELL
from beft.report.frames.schema import Frames, groups_of, rows_of
from beft.report.tables import demonstrations
from beft.report.tables.metric_cells import (
    AVERAGED,
    CHOSEN,
    GUESSING,
    INERT,
    LEADING,
    TIDY,
    average,
    cell,
    facts,
    guesses,
    measure_notes,
)
from beft.report.tables.table import DASH, Part, Shown, Table, name, significant

# the paper's order, then version 2's; others follow in the order of the study
FIRST = ("b_v", "b_q", "b_k", "lora", "lora_q", "lora_k", "lora_v", "prefix", "icl", "zero_shot")
ROW = ["model", "regime", "technique"]
LONG = [*ROW, "trained_percent", *(c for c in TIDY if c not in ROW)]
LONG.insert(LONG.index("best") + 1, "second")
LONG += demonstrations.COUNTS
MAY_DIFFER = {
    ("multirc", "f1"): "multirc (F1 over its answers)",
    ("drop", "drop_f1"): "drop (F1 with every answer that its flattened answers may hold)",
}


def table5(frames: Frames, column: str = "best") -> Table:
    """Table 5 of the paper for this study's decoders.

    Where the study asks for `table6` too, only those that have biases of their own.

    Args:
        column: `best` or `last`, the epoch that a run's number is taken from.
    """
    title = "Metric (%) of each technique on decoders, per task, and the share that it trains"
    return _table("table5", title, frames, _decoders(frames, added=False), [], column)


def table6(frames: Frames, column: str = "best") -> Table:
    """Table 6 (version 2 of the paper): decoders to which biases had to be added; see `table5`."""
    title = "Metric (%) of each technique on decoders without biases of their own, per task"
    note = (
        "The queries, keys and values of these models have no biases: some are added, which start "
        "at zero. The paper's numbers (its version 2) are not shown."
    )
    return _table("table6", title, frames, _decoders(frames, added=True), [note], column)


def _decoders(frames: Frames, added: bool) -> list[str]:
    """The decoders of one of the two tables.

    A model without any run is in the table that is asked for, in table 5 if both are.
    """
    models = grid.order(grid.of_kind(frames, "decoder"), "model")
    asked = set(frames.settings.get("tables", ("table5", "table6")))
    if "table6" not in asked:
        return models
    counts = frames.provenance.merge(frames.runs[["digest", "model"]], on="digest")
    most = counts.groupby("model")["added_biases"].max()
    unknown = 0 if "table5" in asked else 1
    return [model for model in models if (most.get(model, unknown) > 0) == added]


def _table(
    key: str, title: str, frames: Frames, models: list[str], notes: list[str], column: str
) -> Table:
    frames = _arranged(grid.of_models(frames, models))
    tidy = demonstrations.counted(_with_share(facts(frames, column), frames), frames)
    tidy = _marked(tidy)
    labels = [(task, split) for task, names in grid.splits(frames).items() for split in names]
    several = tidy["regime"].nunique() > 1
    parts = [
        _part(model, rows, labels, several)
        for model in grid.order(frames, "model")
        if len(rows := tidy[tidy["model"] == model])
    ]
    notes = [*_notes(tidy, column, frames), *notes]
    return Table(key, title, tuple(notes), tuple(parts), tidy[LONG].reset_index(drop=True))


def _arranged(frames: Frames) -> Frames:
    """The study with its techniques in the order of these tables.

    The measurement of gradients is left out: on a decoder it scores what zero_shot scores.
    """
    names = [t for t in grid.order(frames, "technique") if t != grid.MEASUREMENT]
    names.sort(key=lambda t: FIRST.index(t) if t in FIRST else len(FIRST))
    runs = frames.runs[frames.runs["technique"] != grid.MEASUREMENT]
    return replace(frames, runs=runs, settings={**frames.settings, "techniques": names})


def _with_share(table: pd.DataFrame, frames: Frames) -> pd.DataFrame:
    """Say of each row which percentage of its model it trains; undefined without any run."""
    percents = (
        frames.runs.astype({"trainable_percent": float}).groupby(ROW)["trainable_percent"].max()
    )
    rows = table[ROW].itertuples(index=False, name=None)
    return table.assign(trained_percent=[float(percents.get(row, math.nan)) for row in rows])


def _marked(table: pd.DataFrame) -> pd.DataFrame:
    """Mark the best and the second best technique per model, regime and column."""
    table = table.reset_index(drop=True).assign(best=False, second=False)
    for _, part in groups_of(table, [*CELL, "split"]):
        counted = part[(part["status"] != "skipped") & ~part["unbeaten"].astype(bool)]
        best, second = _top(dict(zip(counted.index, counted["mean"], strict=True)))
        table.loc[best, "best"], table.loc[second, "second"] = True, True
    return table


def _top(means: dict) -> tuple[list, list]:
    """Who has the best mean and who the second best; nobody while a mean is lacking."""
    if len(means) < 2 or not all(map(math.isfinite, means.values())):
        return [], []
    return grid.ties(means.items()), grid.ties(means.items(), 2)


def _part(model: str, rows: pd.DataFrame, labels: list[tuple[str, str]], several: bool) -> Part:
    labels = [label for label in labels if label[0] in set(rows["task"])]
    groups = dict(groups_of(rows, ["regime", "technique"]))
    averages = _averages(groups, labels)
    lines: dict[str, list[tuple[Shown, ...]]] = {}  # of each regime
    for (regime, technique), part in groups.items():
        found = {(row.task, row.split): row for row in rows_of(part)}
        shown = [_cell(found.get(label)) for label in labels]
        leading = [name(regime)] * several + [name(technique)]
        share = Shown(significant(part["trained_percent"].iloc[0]))
        line = (*leading, share, *shown, averages[regime, technique])
        lines.setdefault(regime, []).append(line)
    for (regime,), own in grid.grouped(rows, ["regime"]).items():
        if known := guesses(own, labels):
            leading = [name(regime)] * several + [name(GUESSING)]
            lines[regime].append((*leading, Shown(DASH), *known))
    columns = ["regime"] * several + ["technique", "trained (%)"]
    columns += [*(grid.column_label(*label) for label in labels), "Avg."]
    caption = model if several else f"{model}, {rows['regime'].iloc[0]}"
    return Part(caption, tuple(columns), 1 + several, tuple(chain(*lines.values())))


def _cell(row) -> Shown:
    if row is None:
        return cell(row)
    return demonstrations.marked(replace(cell(row), underlined=bool(row.second)), row)


def _averages(groups: dict, labels: list[tuple[str, str]]) -> dict[tuple[str, str], Shown]:
    """The average of each row; the best and the second best of a regime are marked."""
    means, shown = {}, {}
    for key, part in groups.items():
        found = {(row.task, row.split): row for row in rows_of(part)}
        means[key], shown[key] = average(found, labels)
        shown[key] = replace(shown[key], place=(str(part["model"].iloc[0]), "", *key))
    for regime in dict.fromkeys(regime for regime, _ in groups):
        if all(part["unbeaten"].all() for key, part in groups.items() if key[0] == regime):
            continue
        best, second = _top({key: mean for key, mean in means.items() if key[0] == regime})
        shown |= {key: replace(shown[key], bold=True) for key in best}
        shown |= {key: replace(shown[key], underlined=True) for key in second}
    return shown


def _notes(tidy: pd.DataFrame, column: str, frames: Frames) -> list[str]:
    ours = set(zip(tidy["task"], tidy["metric"], strict=True))
    differing = [words for key, words in MAY_DIFFER.items() if key in ours]
    paper = (
        "paper: its number for the same model, task, regime and technique, then ours minus it, in "
        "points. It does not name its metrics"
    )
    paper += f", and ours may differ for {', '.join(differing)}." if differing else "."
    notes = [
        *measure_notes(tidy, column, frames),
        "Trained: what is trained, in percent of the model's parameters.",
        *demonstrations.notes(tidy),
        "Bold: the best technique in its regime and column; underlined: the second best; neither "
        "is marked where a technique is without a result, or nothing beats guessing.",
        LEADING if tidy["separated"].any() else "",
        CHOSEN if tidy["selected"].any() else "",
        f"{INERT} inert: the term's gradient is zero up to rounding, so tuning it changes nothing."
        if tidy["inert"].any() else "",
        paper if tidy["paper"].notna().any() else "",
        AVERAGED,
    ]  # fmt: skip
    return [note for note in notes if note]
