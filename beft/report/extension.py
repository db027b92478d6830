"""Metric and score of each term over learning rates and epochs."""

from matplotlib.figure import Figure

from beft.report.frames import Frames
from beft.report.style import blank
from beft.report.table import Table


def extension(frames: Frames) -> Table:
    """Metric and score of each term over learning rates and epochs"""
    return Table(
        "extension",
        "Metric and score of each term over learning rates and epochs",
        (),
        (),
        frames.runs.head(0),
    )


def draw(frames: Frames) -> Figure:
    """Metric and score of each term over learning rates and epochs, drawn."""
    return blank("Nothing to draw yet.")
