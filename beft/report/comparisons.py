"""Paired comparisons of bias terms."""

from beft.report.frames import Frames
from beft.report.table import Table


def comparisons(frames: Frames) -> Table:
    """Paired comparisons of bias terms"""
    return Table("comparisons", "Paired comparisons of bias terms", (), (), frames.runs.head(0))
