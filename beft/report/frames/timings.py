"""Read the seconds of runs that were timed alone, each in its own process."""

from collections.abc import Iterator

import pandas as pd

from beft.report.frames.schema import frame
from beft.store.files import read_json
from beft.store.measurement_files import timing_flaw
from beft.study.measurements import Timed
from beft.study.project import Project


def collect(project: Project) -> pd.DataFrame:
    """The frame `timings`: a row for each run and repeat that the study times.

    Without a valid file the status is `missing` or `failed`, and no seconds are given.
    """
    rows = (row for key, timed in project.timings.items() for row in _rows(project, key, timed))
    return frame("timings", rows)


def _rows(project: Project, key: str, timed: Timed) -> Iterator[dict[str, object]]:
    path = project.layout.timing(key)
    flaw = timing_flaw(path, timed)
    recipes = {recipe.digest: recipe for recipe in timed.recipes}
    if flaw is None:
        found = read_json(path)["runs"]
    else:
        unknown = {"status": "missing" if flaw == "missing" else "failed"}
        turns = range(1, timed.repeats + 1)
        found = [{"digest": d, "repeat": turn, **unknown} for turn in turns for d in recipes]
    for run in found:
        recipe = recipes[run["digest"]]
        yield {
            "model": recipe.model["alias"],
            "task": recipe.task["name"],
            "regime": recipe.regime,
            "technique": recipe.technique,
            "seed": recipe.seed,
            **run,
        }
