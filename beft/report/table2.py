"""Trained share, run time and metric of techniques."""

from beft.report.frames import Frames
from beft.report.table import Table


def table2(frames: Frames) -> Table:
    """Trained share, run time and metric of techniques"""
    return Table(
        "table2", "Trained share, run time and metric of techniques", (), (), frames.runs.head(0)
    )
