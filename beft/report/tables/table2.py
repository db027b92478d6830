"""Table 2: what each technique trains, how long it takes, and what it scores."""

import math

import pandas as pd

from beft.report.analysis import cells as grid
from beft.report.analysis import guessing
from beft.report.analysis import published as paper
from beft.report.frames.columns import CELL, KEYS
from beft.report.frames.schema import Frames, groups_of, rows_of
from beft.report.tables.metric_cells import GUESSING, PAPER, guess, measure_notes
from beft.report.tables.table import (
    DASH,
    Part,
    Shown,
    Table,
    between,
    name,
    percent,
    points,
    significant,
)

TIDY = [*KEYS, "trained_percent", "seconds", "seconds_std", "train_seconds"]
TIDY += ["repeats", "repeats_planned", "ratio", "split", "metric", "mean", "std", "n", "planned"]
TIDY += ["low", "high", "guessing", "unbeaten", "precision", "status", "reason"]
TIDY += ["paper_trained_percent", "paper_seconds", "paper_ratio", "paper", "paper_deviation"]
TIDY += ["difference", "note"]
REFERENCE = "b_v"  # what run times are divided by


def table2(frames: Frames, column: str = "best") -> Table:
    """Table 2 of the paper for every (model, task, regime) that the study times.

    Args:
        column: `best` or `last`, the epoch that a run's metric is taken from.
    """
    title = "Trained share, run time and metric of techniques"
    tidy = facts(frames, column)
    parts = tuple(_part(rows) for _, rows in tidy.groupby(CELL, sort=False))
    return Table("table2", title, tuple(_notes(frames, tidy, column)), parts, tidy[TIDY])


def facts(frames: Frames, column: str = "best") -> pd.DataFrame:
    """One row per timed technique, with what its runs score and the paper's numbers.

    Returns:
        `TIDY` and the stories of the repeats and runs that do not count; mean, std, low and high
        are fractions, the paper's metric and ours minus it percent.
    """
    cells, rows = grid.cells(frames, column), []
    for key, own in groups_of(frames.timings, KEYS):
        split = grid.first_split(frames, key[1])
        at = (*key, split)
        rows.append(
            dict(zip(KEYS, key, strict=True))
            | {
                "split": split,
                **_times(own),
                **_score(cells, at),
                **_interval(frames, (*at, column)),
            }
            | _share_and_metric(frames, key)
        )
    table = pd.DataFrame(rows, columns=[*dict.fromkeys([*TIDY, "problem", "time_short"])])
    table = table.assign(unbeaten=guessing.is_unbeaten(table, frames, column))
    return _with_paper(_with_ratio(table))


def _times(own: pd.DataFrame) -> dict[str, object]:
    """Mean and deviation over the repeats that ended well."""
    seconds = pd.to_numeric(own["seconds"].where(own["status"] == "ok"))
    lost = [(status, "") for status in own["status"] if status != "ok"]
    n, planned = int(seconds.count()), len(own)
    steps = pd.to_numeric(own["train_seconds"].where(own["status"] == "ok"))
    return {
        "seconds": seconds.mean(),
        "seconds_std": seconds.std(),
        "train_seconds": steps.mean(),
        "repeats": n,
        "repeats_planned": planned,
        "time_short": grid.story(lost, n, planned)[1].replace("missing", "not timed"),
    }


def _score(cells: pd.DataFrame, at: tuple) -> dict[str, object]:
    row = grid.at(cells, *at)
    if row is None:  # timed, and none of its runs is in the frame
        nothing = {**dict.fromkeys(("mean", "std", "guessing"), math.nan), "n": 0, "planned": 0}
        said = dict.fromkeys(("status", "problem", "reason"), "missing")
        return {**nothing, **said, "precision": ""}
    facts = ("mean", "std", "n", "planned", "guessing", "status", "problem", "reason", "precision")
    return {key: row[key] for key in facts}


def _interval(frames: Frames, at: tuple) -> dict[str, object]:
    own = frames.intervals
    for key, value in zip([*KEYS, "split", "epoch"], at, strict=True):
        own = own[own[key] == value]
    if own.empty:
        return {"low": math.nan, "high": math.nan, "note": ""}
    first = own.iloc[0]
    note = "" if pd.isna(first["note"]) else first["note"]
    return {"low": float(first["low"]), "high": float(first["high"]), "note": note}


def _share_and_metric(frames: Frames, key: tuple) -> dict[str, object]:
    own = frames.runs
    for column, value in zip(KEYS, key, strict=True):
        own = own[own[column] == value]
    metrics = own["metric"].dropna()
    return {
        "trained_percent": pd.to_numeric(own["trainable_percent"]).max(),
        "metric": metrics.iloc[0] if len(metrics) else "",
    }


def _with_ratio(table: pd.DataFrame) -> pd.DataFrame:
    reference = table[table["technique"] == REFERENCE].set_index(CELL)["seconds"]
    keys = table[CELL].itertuples(index=False, name=None)
    base = pd.Series([reference.get(key, math.nan) for key in keys], table.index, dtype=float)
    return table.assign(ratio=table["seconds"].astype(float) / base)


def _with_paper(table: pd.DataFrame) -> pd.DataFrame:
    published = paper.load()
    theirs = paper.lookup(published[published["table"] == "table2"])
    costs, found = paper.COSTS, []
    for row in rows_of(table):
        number = theirs.get((row.model, row.task, row.split, row.regime, row.technique))
        if number is None or number.metric != row.metric:
            found.append([math.nan] * 6)
            continue
        trained, seconds = costs[row.technique]
        deviation = math.nan if number.deviation is None else number.deviation
        gap = 100 * row.mean - number.value
        ratio = seconds / costs[REFERENCE][1]
        found.append([trained, seconds, ratio, number.value, deviation, gap])
    names = ["paper_trained_percent", "paper_seconds", "paper_ratio"]
    names += ["paper", "paper_deviation", "difference"]
    return table.assign(**pd.DataFrame(found, table.index, names, dtype=float))


def _part(rows: pd.DataFrame) -> Part:
    first = rows.iloc[0]
    columns = ["technique", "trained (%)", "run time (s)", f"times {REFERENCE}"]
    columns.append(f"{next(filter(None, rows['metric']), 'metric')} (%)")
    lines = list(map(_line, rows_of(rows)))
    if known := [row for row in rows_of(rows) if math.isfinite(row.guessing)]:
        blank = Shown(DASH)
        lines.append((name(GUESSING), blank, blank, blank, guess(known[0])))
    return Part(", ".join(map(str, first[CELL])), tuple(columns), 1, tuple(lines))


def _line(row) -> tuple[Shown, ...]:
    digits = 1 if row.seconds >= 10 else 2
    around = f"± {row.seconds_std:.{digits}f} " if math.isfinite(row.seconds_std) else ""
    seconds = Shown(
        _number(row.seconds, digits),
        f"{around}(n={row.repeats}/{row.repeats_planned})" if row.repeats else "",
        _paper(row.paper_seconds, ".1f"),
        problem=row.time_short,
        reason=row.time_short,
    )
    spread = f"± {percent(row.std)} " if math.isfinite(row.std) else ""
    theirs = ""
    if math.isfinite(row.paper):
        theirs = _paper(row.paper, "g") + f" ± {row.paper_deviation:g}" * (row.paper_deviation > 0)
        theirs += f", {points(row.difference)}" * math.isfinite(row.difference)
    metric = Shown(
        percent(row.mean),
        f"{spread}(n={row.n}/{row.planned})" if row.n else "",
        theirs,
        problem=row.problem,
        reason=row.reason,
        interval=between(row.low, row.high),
        place=(row.model, row.task, row.regime, row.technique),
    )
    return (
        name(row.technique),
        Shown(significant(row.trained_percent), paper=_paper(row.paper_trained_percent, "g")),
        seconds,
        Shown(_number(row.ratio, 2), paper=_paper(row.paper_ratio, ".2f")),
        metric,
    )


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else DASH


def _paper(value: float, form: str) -> str:
    return f"paper {value:{form}}" if math.isfinite(value) else ""


def _notes(frames: Frames, tidy: pd.DataFrame, column: str) -> list[str]:
    if tidy.empty:
        return ["The study times nothing: its 'timing' says what to time."]
    done = frames.timings[frames.timings["status"] == "ok"]
    machines = [
        f"{hardware} ({device}, threads: {int(threads)})"
        for hardware, device, threads in done[["hardware", "device", "threads"]]
        .drop_duplicates()
        .itertuples(index=False, name=None)
    ]
    seeds = ", ".join(str(int(seed)) for seed in frames.timings["seed"].unique())
    notes = [
        f"Run time: a whole fine-tune of seed {seeds} with the evaluation after every epoch, data "
        "and model already loaded and warmed up; each run alone in a process of its own, the "
        "techniques in turns; mean ± sample deviation, n the number of repeats.",
        f"Timed on {'; '.join(machines)}." if machines else "Nothing is timed yet.",
        f"Times {REFERENCE}: run time divided by that of {REFERENCE}.",
        "Trained: what the technique trains, in percent of the model's parameters, without the "
        "head that all techniques train.",
        *measure_notes(tidy, column, frames),
        f"{PAPER}; behind the metric ours minus it, in points. The paper timed on an NVIDIA Tesla "
        "T4, so only the ratios can be compared." if tidy["paper"].notna().any() else "",
    ]  # fmt: skip
    return [note for note in notes if note]
