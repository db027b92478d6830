"""Read scores, scores per epoch and gradients from data/scores into their frames."""

import io
from collections.abc import Callable

import pandas as pd

from beft.report.frames.columns import COLUMNS
from beft.study.cell import Cell
from beft.study.project import Project

FILES: dict[str, Callable[[Cell], str]] = {
    "scores": Cell.scores,
    "trajectories": Cell.trajectories,
    "gradients": Cell.gradients,
}


def collect(project: Project, runs: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Name of a frame -> all cells of the study in one, as text.

    A cell has no row without its file, or when one of its runs failed: its scores may be of that.

    Args:
        runs: the frame of this name.
    """
    folder = project.layout.folder("scores")
    failed = set(runs.loc[runs["status"] == "failed", "digest"])
    cells = [c for c in project.cells.values() if failed.isdisjoint(r.digest for r in c.runs)]
    return {
        name: _joined(name, [folder / file(cell) for cell in cells]) for name, file in FILES.items()
    }


def _joined(name: str, paths: list) -> pd.DataFrame:
    # One call reads all files: a call per file would take most of the time.
    bodies = [p.read_text(encoding="utf-8").partition("\n")[2] for p in paths if p.is_file()]
    text = io.StringIO("".join([f"{','.join(COLUMNS[name])}\n", *bodies]))
    return pd.read_csv(text, dtype=str, keep_default_na=False)
