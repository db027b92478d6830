"""Table 3: biases tuned on one task, and the mean of two, on both of the tasks."""

import math
from collections.abc import Iterator, Mapping

import pandas as pd

from beft.report.analysis import cells as grid
from beft.report.analysis import epochs, guessing
from beft.report.analysis import published as paper
from beft.report.frames.schema import Frames, groups_of, rows_of
from beft.report.tables.metric_cells import GUESSING, guessing_notes
from beft.report.tables.table import DASH, Part, Shown, Table, beside, name, percent

COUPLE = ["model", "regime", "technique", "first", "second"]
VALUE = [*COUPLE, "bias", "head", "task", "split", "metric"]
ANGLES = ["tuned_cosine", "tuned_degrees", "shift_cosine", "shift_degrees"]
TIDY = [*VALUE, "mean", "std", "n", "planned", "guessing", "paper", "difference", *ANGLES]
TIDY += ["status", "reason"]
WAYS = (
    *(("none", "fresh"), ("first", "own"), ("first", "first")),
    *(("second", "own"), ("second", "second"), ("mean", "own")),
)
THEIRS = ("bert-base-cased", "low", "b_v", {"sst2", "rte"})  # what the paper's Table 3 is of


def table3(frames: Frames) -> Table:
    """Table 3 of the paper for every two tasks whose biases the study merges."""
    title = "Metric (%) of biases of two tasks, and of their mean, on each of the tasks"
    tidy = facts(frames.merges, guessing.rates(frames))
    groups = [(key, rows) for key, rows in tidy.groupby(COUPLE, sort=False)]
    parts = tuple(_part(rows) for _, rows in groups)
    angles = [_angle_note(frames.merges, key, len(groups)) for key, _ in groups]
    notes = [*_notes(tidy, frames), *angles]
    return Table("table3", title, tuple(filter(None, notes)), parts, tidy[TIDY])


def facts(merges: pd.DataFrame, rates: Mapping[guessing.Place, float]) -> pd.DataFrame:
    """One row per bias, head, task and split: over the seeds, beside the paper's number.

    Args:
        rates: see `guessing.rates`.

    Returns:
        `TIDY` and `short`; mean and std are fractions, the paper's number and ours minus it
        percent; cosines and degrees are means over the seeds that have both biases.
    """
    rows = []
    for key, own in groups_of(merges, VALUE):
        place = dict(zip(VALUE, key, strict=True))
        value = pd.to_numeric(own["value"]).where(own["status"] == "ok")
        told = own[["status", "reason"]].fillna("")[value.isna().to_numpy()]
        lost = list(told.itertuples(index=False, name=None))
        n, planned = int(value.count()), len(own)
        status, short, reason = grid.story(lost, n, planned)
        theirs = _published(place)
        at = (place["model"], place["task"], place["regime"], place["split"])
        angles = {angle: pd.to_numeric(own[angle]).mean() for angle in ANGLES}
        rows.append(
            place
            | {"mean": value.mean(), "std": value.std(), "n": n, "planned": planned}
            | {"guessing": rates.get(at, math.nan)}
            | {"paper": theirs, "difference": 100 * value.mean() - theirs, **angles}
            | {"status": status, "short": short, "reason": reason}
        )
    return pd.DataFrame(rows, columns=[*TIDY, "short"])


def _published(place: dict[str, str]) -> float:
    """The paper's number in percent; its heads are those of the task, or not: it does not say."""
    tasks = {place["first"], place["second"]}
    if (place["model"], place["regime"], place["technique"], tasks) != THEIRS:
        return math.nan
    named = {"none": "untuned", "mean": "merged_mean"}
    bias = named.get(place["bias"]) or f"{place['technique']}_from_{place[place['bias']]}"
    table = paper.load()
    table = table[(table["table"] == "table3") & (table["technique"] == bias)]
    found = table[(table["task"] == place["task"]) & (table["split"] == place["split"])]
    return float(found["value"].iloc[0]) if len(found) else math.nan


def _part(rows: pd.DataFrame) -> Part:
    first = rows.iloc[0]
    labels = list(dict.fromkeys(zip(rows["task"], rows["split"], strict=True)))
    columns = ("bias", "head", *(grid.column_label(*label) for label in labels))
    lines = []
    for way in WAYS:
        own = rows[(rows["bias"] == way[0]) & (rows["head"] == way[1])]
        if own.empty:
            continue
        found = {(row.task, row.split): row for row in rows_of(own)}
        lines.append((*_way(first, *way), *(_cell(found.get(label)) for label in labels)))
    known = {(row.task, row.split): row.guessing for row in rows_of(rows)}
    if any(map(math.isfinite, known.values())):
        shown = (Shown(percent(known[label])) for label in labels)
        lines.append((name(GUESSING), name(DASH), *shown))
    caption = f"{first['model']}, {first['regime']}, {first['first']} and {first['second']}"
    return Part(caption, columns, 2, tuple(lines))


def _way(first: pd.Series, bias: str, head: str) -> Iterator[Shown]:
    """The two names of a row."""
    technique = first["technique"]
    words = {"none": "pretrained", "mean": f"mean of both {technique}"}
    yield name(words.get(bias) or f"{technique} of {first[bias]}")
    heads = {"fresh": "untuned", "own": "each task's own"}
    yield name(heads.get(head) or f"of {first[head]}")


def _cell(row) -> Shown:
    if row is None:
        return Shown(DASH, problem="not planned", reason="not part of this study")
    spread = f"± {percent(row.std)} " if math.isfinite(row.std) else ""
    spread = f"{spread}(n={row.n}/{row.planned})" if row.n else ""
    theirs = beside(row.paper, row.mean)
    return Shown(percent(row.mean), spread, theirs, "", row.short, row.reason)


def _notes(tidy: pd.DataFrame, frames: Frames) -> list[str]:
    if tidy.empty:
        return ["The study merges nothing: its 'merging' says what to merge."]
    metrics = tidy.drop_duplicates("task")
    named = ", ".join(f"{row.task}: {row.metric}" for row in rows_of(metrics))
    shared = (tidy["head"] == tidy["bias"]).any()
    return [
        "Each number is the mean over seeds of the validation set ± sample deviation, n how many "
        "of the planned seeds count; biases and heads are those of the best epoch of their run. "
        f"{epochs.chosen_epoch(frames)}",
        f"Metrics: {named}.",
        *guessing_notes(tidy.assign(unbeaten=False)),
        "Mean: the arithmetic mean of the tuned biases. A bias of the other task is tried with the "
        "head of the task itself" + (
            " and with that of the bias's own run, as the paper does not say which it took."
            if shared else "; decoders have none."
            if not (tidy["head"] == "fresh").any() else "."
        ),
        "paper: its number for the same model and tasks (low regime, as its numbers are those of "
        "Table 1), then ours minus it, in points." if tidy["paper"].notna().any() else "",
    ]  # fmt: skip


def _angle_note(merges: pd.DataFrame, key: tuple, groups: int) -> str:
    """How far apart the two tasks' biases point, over the seeds."""
    own = merges
    for column, value in zip(COUPLE, key, strict=True):
        own = own[own[column] == value]
    seeds = own.drop_duplicates("seed")
    seeds = seeds[pd.to_numeric(seeds["tuned_cosine"]).notna()]
    place = dict(zip(COUPLE, key, strict=True))
    biases = f"{place['technique']} of {place['first']} and {place['second']}"
    biases += f" ({place['model']}, {place['regime']})" if groups > 1 else ""
    if seeds.empty:
        return f"Angle between {biases}: not known yet."
    told = {
        kind: f"{pd.to_numeric(seeds[f'{kind}_degrees']).mean():.1f} degrees (cosine "
        f"{pd.to_numeric(seeds[f'{kind}_cosine']).mean():.2f})"
        for kind in ("tuned", "shift")
    }
    cosine, degrees = paper.ANGLE
    tasks = {place["first"], place["second"]}
    same = (place["model"], place["regime"], place["technique"], tasks) == THEIRS
    theirs = f" [paper: {degrees} degrees, cosine {cosine}]" if same else ""
    return (
        f"Angle between the tuned {biases}, all layers as one vector, mean over seeds "
        f"(n={len(seeds)}): {told['tuned']}{theirs}; between what tuning added to the pretrained "
        f"ones: {told['shift']}."
    )
