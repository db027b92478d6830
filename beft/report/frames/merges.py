"""Read the metrics of biases that were tuned on one task, or averaged, on each task."""

from collections.abc import Iterator

import pandas as pd

from beft.adapters.merge_results import facts_of_results, merge_flaw
from beft.report.frames.schema import frame
from beft.store.files import read_json
from beft.study.measurements import Merged
from beft.study.project import Project

ANGLES = ("tuned", "shift")


def collect(project: Project) -> pd.DataFrame:
    """The frame `merges`: a row for each seed, bias, head, task and split of the study's merges.

    Without a valid file the status is `missing` or `failed`, and no metric is given.
    """
    rows = (row for key, merged in project.merges.items() for row in _rows(project, key, merged))
    return frame("merges", rows)


def _rows(project: Project, key: str, merged: Merged) -> Iterator[dict[str, object]]:
    path = project.layout.merge(key)
    flaw = merge_flaw(project, path, merged)
    first, second = merged.couples[0].tuned
    place = {
        "model": first.model["alias"],
        "regime": first.regime,
        "technique": first.technique,
        "first": first.task["name"],
        "second": second.task["name"],
    }
    if flaw is None:
        written = read_json(path)
        found, angles = written["results"], {each["seed"]: each for each in written["angles"]}
    else:
        unknown = {"status": "failed", "reason": flaw}
        if flaw == "missing":
            unknown = {"status": "missing", "reason": "not run yet"}
        found, angles = [{**each, **unknown} for each in facts_of_results(merged)], {}
    for row in found:
        own = angles.get(row["seed"], {})
        measured = {
            f"{kind}_{measure}": own[kind][measure]
            for kind in ANGLES
            for measure in ("cosine", "degrees")
            if own
        }
        yield {**place, **row, **measured}
