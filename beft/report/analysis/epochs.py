"""Say how the best epoch of the runs was chosen."""

from beft.report.frames.schema import Frames
from beft.study.recipe import HELD_OUT


def chosen_epoch(frames: Frames) -> str:
    """Say in one sentence how the best epoch of the runs was chosen."""
    fine = frames.runs[frames.runs["status"] == "ok"]
    trained = fine[fine["epochs"].astype(float) > 0]
    held = set(frames.history.loc[frames.history["split"] == HELD_OUT, "digest"])
    count = int(trained["digest"].isin(held).sum())
    if not count:
        return "The epoch is chosen on the set that is reported, which is optimistic."
    if count == len(trained):
        return (
            "The epoch is chosen on examples held out from training, not on the set that is "
            "reported."
        )
    return (
        f"The epoch of {count} of {len(trained)} runs is chosen on examples held out from "
        "training, that of the others on the set that is reported, which is optimistic."
    )
