"""Which runs of two reports differ: in what became of them, in settings, in the number alone."""

import math

import pandas as pd

from beft.errors import one_line
from beft.report.compare.cells import SAME
from beft.report.frames.columns import KEYS
from beft.report.frames.schema import Frames

RUN = [*KEYS, "seed"]
COLUMNS = [*RUN, "finding", "before", "after"]
SETTINGS = ("learning_rate", "epochs", "train_examples", "metric")  # of a run, in runs.csv


def compare_runs(first: Frames, second: Frames, epoch: str, settings: list[tuple]) -> pd.DataFrame:
    """The runs that are others than before, see `Comparison`.

    Runs are the same when their digests are; of the others, those of one place and seed are held
    against each other in the order in which they stand.

    Args:
        settings: the settings of the study that differ: key, before, after.
    """
    pairs = _pairs(first.runs, second.runs)
    reasons: list[dict] = [
        f.problems.drop_duplicates("digest").set_index("digest")["reason"].to_dict()
        for f in (first, second)
    ]
    models = second.settings.get("models", {})
    kinds = {m: models.get(m, {}).get("kind", "encoder") for m in second.runs["model"].unique()}
    rows = []
    for one, two in pairs:
        key = [(two or one or {})[name] for name in RUN]
        if one is None or two is None:
            rows.append([*key, f"only in {'B' if one is None else 'A'}", *_statuses(one, two)])
            continue
        if one["status"] != two["status"]:
            told = [_status(run, said) for run, said in zip((one, two), reasons, strict=True)]
            rows.append([*key, "status", *told])
        if one["digest"] != two["digest"]:
            rows.append(
                [*key, "settings", *_told(_run_settings(one, two, settings, kinds[two["model"]]))]
            )
        elif one["status"] == two["status"] == "ok" and _differ(one[epoch], two[epoch]):
            rows.append([*key, "number", one[epoch], two[epoch]])
    return pd.DataFrame(rows, columns=COLUMNS, dtype=object)


def _pairs(first: pd.DataFrame, second: pd.DataFrame) -> list[tuple[dict | None, dict | None]]:
    sides = [frame.to_dict("records") for frame in (first, second)]
    known = {run["digest"]: run for run in reversed(sides[1])}
    same = {run["digest"] for run in sides[0]} & known.keys()
    waiting: dict[tuple, list[dict]] = {}
    for run in sides[1]:
        if run["digest"] not in same:
            waiting.setdefault(tuple(run[name] for name in RUN), []).append(run)
    pairs: list[tuple[dict | None, dict | None]] = []
    for run in sides[0]:
        if run["digest"] in same:
            pairs.append((run, known[run["digest"]]))
        else:
            others = waiting.get(tuple(run[name] for name in RUN))
            pairs.append((run, others.pop(0) if others else None))
    return [*pairs, *((None, run) for others in waiting.values() for run in others)]


def _status(run: dict, reasons: dict[str, str]) -> str:
    reason = reasons.get(run["digest"], "")
    told = isinstance(reason, str) and reason
    return f"{run['status']}: {one_line(reason)}" if told else run["status"]


def _statuses(one: dict | None, two: dict | None) -> tuple[str, str]:
    return (one["status"] if one else "", two["status"] if two else "")


def _differ(one, two) -> bool:
    """Whether two values differ by more than rounding; undefined ones are alike."""
    if isinstance(one, str) or isinstance(two, str):
        return str(one) != str(two)
    lost = [value is None or math.isnan(value) for value in (one, two)]
    return lost[0] != lost[1] if any(lost) else abs(one - two) > SAME


def _run_settings(one: dict, two: dict, settings: list[tuple], kind: str) -> list[tuple]:
    """What differs between two runs of one place: their own numbers, then what the study says."""
    own = [(name, one[name], two[name]) for name in SETTINGS if _differ(one[name], two[name])]
    about = (f"models.{two['model']}.", f"tasks.{two['task']}.", "training.", "overrides.")
    others = () if kind == "decoder" else (f"tasks.{two['task']}.decoder",)
    for key, before, after in settings:
        words = key.split(".")
        elsewhere = any(
            group in words[:-1] and two[name] not in words
            for group, name in (("regimes", "regime"), ("techniques", "technique"))
        )
        mine = key.startswith(about) and not key.startswith(others) and not elsewhere
        if mine and words[-1] not in SETTINGS:
            own.append((key, before, after))
    return own


def _told(found: list[tuple]) -> tuple[str, str]:
    """Settings before and after in words."""
    if not found:
        return "", "data, code version or a setting that reports do not record"
    before, after = (", ".join(f"{row[0]}: {row[side]}" for row in found) for side in (1, 2))
    return before, after
