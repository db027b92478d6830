"""The epoch after which a selector's choice no longer changes, for every run of all biases."""

import math

import pandas as pd

from beft.report.analysis import selection as chosen
from beft.report.frames.columns import CELL
from beft.report.frames.schema import Frames

NONE = "no choice"  # where scores are undefined or equal
TIDY = [*CELL, "seed", "selector", "epochs", "first", "final", "settled_epoch", "settled"]
TIDY += ["cost", "reason"]


def facts(frames: Frames, column: str = "best") -> pd.DataFrame:
    """One row per run of `all_biases` and selector, with `TIDY`.

    Returns:
        settled: the epoch from which on the choice stays, as a share of the epochs, undefined
        where the final choice is, or where there is one epoch only; cost: the metric that the
        final choice has over the one after epoch 1, a fraction, negative where that was better.
    """
    where = frames.runs[[*CELL, "seed", "digest"]].drop_duplicates("digest")
    results = chosen.outcomes(frames, column)
    rows = []
    runs = where.merge(frames.trajectories, on="digest").groupby(["digest", "selector"], sort=False)
    for (_, selector), run in runs:
        *place, seed = run.iloc[0][[*CELL, "seed"]]
        means = results[tuple(place)]["means"]
        rows.append([*place, seed, selector, *_settle(run.sort_values("epoch"), means)])
    return pd.DataFrame(rows, columns=TIDY)


def _settle(run: pd.DataFrame, means: dict[str, float]) -> list:
    """What follows the selector's name in a row of `facts`, from the epochs of one run."""
    scores = run[list(chosen.TERMS)].to_numpy(float)
    picks = [chosen.argmax(dict(zip(chosen.TERMS, row, strict=True))) for row in scores]
    epochs = [int(epoch) for epoch in run["epoch"]]
    first, final = ("/".join(pick) or NONE for pick in (picks[0], picks[-1]))
    if len(picks[-1]) != 1:
        reason = "tie at the end" if picks[-1] else "scores undefined at the end"
        return [epochs[-1], first, final, math.nan, math.nan, math.nan, reason]
    if epochs[-1] < 2:
        return [epochs[-1], first, final, math.nan, math.nan, math.nan, "one epoch only"]
    since = len(picks)
    while since > 1 and picks[since - 2] == picks[-1]:
        since -= 1
    cost = math.nan
    if len(picks[0]) == 1:
        cost = means.get(final, math.nan) - means.get(first, math.nan)
    epoch = epochs[since - 1]
    return [epochs[-1], first, final, epoch, epoch / epochs[-1], cost, ""]
