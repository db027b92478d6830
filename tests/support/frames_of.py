"""Frames of a study of which a test gives only some."""

import pandas as pd

from beft.report.frames.columns import COLUMNS
from beft.report.frames.schema import Frames


def frames_of(settings: dict, **given: pd.DataFrame) -> Frames:
    """These frames, and empty ones for all others."""
    empty = {name: pd.DataFrame(columns=columns) for name, columns in COLUMNS.items()}
    return Frames(**{**empty, **given}, settings=settings)
