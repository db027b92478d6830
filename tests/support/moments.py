"""Moments in the life of a process, to die at: counted in calls, so that each is the same again."""

import json
import os
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from beft.store import files
from beft.training import checkpoint, gradient_files, loop, pack, results

# What a moment may lie in; in a process, a phase is entered many times.
PHASES = {
    function.__code__: name
    for name, function in {
        "pack": pack.run_pack,
        "resume": checkpoint.resume,
        "step": loop.Loop.step,
        "save": checkpoint.save_states,
        "evaluate": loop.Loop.evaluate,
        "measure": gradient_files.gradients_file,
        "files": results.run_files,
        "folder": files.write_folder,
        "manifest": pack.entry,  # of the first run; the manifest is written after the last one
    }.items()
}


def watch(journal: str, phase: str = "", entry: int = 0, calls: int = 0, number: int = 9) -> None:
    """Sends this process a signal after so many calls from the n-th beginning of a phase.

    Calls are those of Python and C functions, and their returns. The journal is written line by
    line: where phases began and ended, the steps done and what was resumed.
    """
    out = Path(journal).open("a", buffering=1)  # noqa: SIM115
    total, left, entries = 0, -1, 0
    begun: dict[FrameType, int] = {}

    def note(*words: Any) -> None:
        out.write(json.dumps(words) + "\n")

    def count(frame: FrameType, event: str, arg: Any) -> None:
        nonlocal total, left, entries
        total += 1
        left -= 1
        if left == 0:
            note("signal", number, sorted(PHASES[f.f_code] for f in begun))
            os.kill(os.getpid(), number)
        name = PHASES.get(frame.f_code) if event in ("call", "return") else None
        if name is None:
            return
        if event == "call":
            begun[frame] = total
            if name == phase:
                entries += 1
                if entries == entry:
                    left = max(calls, 1)
            return
        note("phase", name, begun.pop(frame), total)
        if name in ("step", "resume"):
            states = frame.f_locals.get("states") or []
            used = frame.f_locals.get("engine") or frame.f_locals["self"].engine
            digests = [recipe.digest for recipe in used.recipes]
            done = [[s.epoch, s.step] for s in states]
            note(name, dict(zip(digests, done, strict=False)))

    sys.setprofile(count)
