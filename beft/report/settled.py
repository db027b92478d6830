"""How early the choice of a selector is settled."""

from matplotlib.figure import Figure

from beft.report.frames import Frames
from beft.report.style import blank
from beft.report.table import Table


def settled(frames: Frames) -> Table:
    """How early the choice of a selector is settled"""
    return Table(
        "settled", "How early the choice of a selector is settled", (), (), frames.runs.head(0)
    )


def draw(frames: Frames) -> Figure:
    """How early the choice of a selector is settled, drawn."""
    return blank("Nothing to draw yet.")
