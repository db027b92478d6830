"""Importance rank of every term per layer."""

from beft.report.frames import Frames
from beft.report.table import Table


def ranks(frames: Frames) -> Table:
    """Importance rank of every term per layer"""
    return Table("ranks", "Importance rank of every term per layer", (), (), frames.runs.head(0))
