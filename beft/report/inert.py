"""Inert terms, measured."""

from beft.report.frames import Frames
from beft.report.table import Table


def inert(frames: Frames) -> Table:
    """Inert terms, measured"""
    return Table("inert", "Inert terms, measured", (), (), frames.runs.head(0))
