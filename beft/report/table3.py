"""Biases of two tasks, and their mean, on each of the tasks."""

from beft.report.frames import Frames
from beft.report.table import Table


def table3(frames: Frames) -> Table:
    """Biases of two tasks, and their mean, on each of the tasks"""
    return Table(
        "table3",
        "Biases of two tasks, and their mean, on each of the tasks",
        (),
        (),
        frames.runs.head(0),
    )
