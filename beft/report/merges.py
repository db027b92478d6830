"""Metrics of biases that were tuned on one task, or averaged, on each task."""

import pandas as pd

from beft.project import Project
from beft.report.frames import frame


def collect(project: Project) -> pd.DataFrame:
    """The frame `merges`."""
    return frame("merges", [])
