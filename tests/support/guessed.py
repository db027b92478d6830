"""What guessing gives, and constant runs, added to a study of made-up numbers."""

from collections.abc import Collection
from dataclasses import replace

from beft.report.frames.schema import Frames


def guessed(frames: Frames, rates: dict[str, float], constant: Collection[str] = ()) -> Frames:
    """A study of which guessing is known.

    Args:
        rates: task -> what guessing gives on each of its splits.
        constant: the digests of runs that predict the same for every example.
    """
    tasks = frames.runs.drop_duplicates("digest").set_index("digest")["task"]
    evaluations, runs = frames.evaluations, frames.runs
    known = evaluations["digest"].map(tasks).map(rates)
    return replace(
        frames,
        evaluations=evaluations.assign(guessing=known),
        runs=runs.assign(
            guessing=runs["task"].map(rates), constant=runs["digest"].isin(list(constant))
        ),
    )
