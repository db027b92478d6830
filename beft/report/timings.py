"""Seconds of runs that had their process and the machine to themselves."""

import pandas as pd

from beft.project import Project
from beft.report.frames import frame


def collect(project: Project) -> pd.DataFrame:
    """The frame `timings`."""
    return frame("timings", [])
