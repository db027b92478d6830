"""How good each selector is."""

from matplotlib.figure import Figure

from beft.report.frames import Frames
from beft.report.style import blank
from beft.report.table import Table


def selectors(frames: Frames) -> Table:
    """How good each selector is"""
    return Table("selectors", "How good each selector is", (), (), frames.runs.head(0))


def draw(frames: Frames) -> Figure:
    """How good each selector is, drawn."""
    return blank("Nothing to draw yet.")
