"""Checks of the files in data/timings and data/merges."""

import math
from itertools import product
from pathlib import Path

from beft.errors import UserError
from beft.store.files import read_json
from beft.study.measurements import SECONDS, TIMING_VERSION, Timed


def timing_flaw(path: Path, timed: Timed) -> str | None:
    """What is wrong with a file of seconds; None if it is sound and of these runs."""
    try:
        written = read_json(path)
        turns = [(run["repeat"], run["digest"]) for run in written["runs"]]
        expected = product(range(1, timed.repeats + 1), (r.digest for r in timed.recipes))
        if written["version"] != TIMING_VERSION or turns != list(expected):
            return "not of the runs that its name says"
        for run in written["runs"]:
            whole, steps = (run[measure] for measure in SECONDS)
            if not (math.isfinite(whole) and 0 <= steps <= whole and whole > 0):
                return f"damaged ({whole} s for a run cannot be, with {steps} s for its steps)"
            if not all(isinstance(run[k], str) for k in ("status", "device", "hardware")):
                return "damaged (not of timed runs)"
    except UserError as error:
        return unread(path, error)
    except (KeyError, TypeError):
        return "damaged (not of timed runs)"
    return None


def unread(path: Path, error: UserError) -> str:
    """Why a file of measurements could not be read, without its name."""
    return "missing" if not path.is_file() else str(error).removeprefix(f"{path}: ")
