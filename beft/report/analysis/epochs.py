"""Say how the best epoch of the runs was chosen."""

import pandas as pd

from beft.report.frames.schema import Frames
from beft.study.recipe import HELD_OUT


def chosen_epoch(frames: Frames) -> str:
    """Say in a sentence or two how the best epoch of the runs was chosen."""
    fine = frames.runs[frames.runs["status"] == "ok"]
    trained = fine[fine["epochs"].astype(float) > 0]
    choosing = trained[~trained["digest"].isin(_evaluated_once(frames))]
    if len(choosing) == len(trained):
        return _how(frames, trained)
    if not len(choosing):
        return "The epoch is the last one, the only one after which runs are evaluated."
    return (
        f"{len(trained) - len(choosing)} of {len(trained)} runs are evaluated after their last "
        f"epoch alone. Of the others: {_how(frames, choosing)}"
    )


def _evaluated_once(frames: Frames) -> set[str]:
    """The runs whose history begins after their first epoch."""
    first = frames.history.groupby("digest")["epoch"].min()
    return set(first.index[first > 1])


def _how(frames: Frames, trained: pd.DataFrame) -> str:
    """How runs that are evaluated after every epoch choose one."""
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
