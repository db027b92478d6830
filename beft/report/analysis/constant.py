"""Say in which cells runs predict the same for every example."""

from collections.abc import Mapping

import pandas as pd

from beft.report.frames.columns import KEYS
from beft.report.frames.schema import Frames, derived
from beft.techniques import TECHNIQUES

WORDS = "predicts the same for every example"


@derived
def runs(frames: Frames) -> pd.DataFrame:
    """The runs whose best epoch predicts the same for every example of the first split.

    Runs that only measure gradients are left out: their model was never to predict anything.
    """
    flags = frames.runs.reindex(columns=["constant"])["constant"].astype("boolean").fillna(False)
    measuring = [name for name, technique in TECHNIQUES.items() if technique.measures]
    counted = (frames.runs["status"] == "ok") & ~frames.runs["technique"].isin(measuring)
    return frames.runs[flags.astype(bool) & counted]


def told(table: pd.DataFrame, frames: Frames, first: Mapping[str, str]) -> pd.DataFrame:
    """Say of cells how many of their runs are constant, as a problem.

    Args:
        table: cells with their `problem` and `reason`.
        first: task -> its first split, of which constant runs are known.
    """
    counts = runs(frames).groupby(KEYS).size().to_dict()
    cells = table[[*KEYS, "split", "n"]].itertuples(index=False, name=None)
    found = [
        f"{counts[tuple(key)]}/{n} constant"
        if split == first.get(str(key[1])) and tuple(key) in counts
        else ""
        for *key, split, n in cells
    ]
    both = [
        (_joined(problem, short), _joined(reason, short and f"{short}: {WORDS}"))
        for problem, reason, short in zip(table["problem"], table["reason"], found, strict=True)
    ]
    return table.assign(problem=[p for p, _ in both], reason=[r for _, r in both])


def _joined(*words: str) -> str:
    return ", ".join(filter(None, words))
