"""Scores of q, k and v after each epoch of the runs of `all_biases`."""

import pandas as pd

from beft.project import Project
from beft.report.frames import frame


def collect(project: Project) -> pd.DataFrame:
    """The frame `trajectories`."""
    return frame("trajectories", [])
