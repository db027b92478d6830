"""Metric (%) of each bias term over models and tasks, in the smallest regime."""

from beft.report.frames import Frames
from beft.report.table import Table


def table4(frames: Frames) -> Table:
    """Metric (%) of each bias term over models and tasks, in the smallest regime"""
    return Table(
        "table4",
        "Metric (%) of each bias term over models and tasks, in the smallest regime",
        (),
        (),
        frames.runs.head(0),
    )
