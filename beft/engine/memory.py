"""How many tokens fit into memory at once: measured on the real model, not guessed."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

log = logging.getLogger(__name__)

# Tokens per pass, forward and backward. On a CPU they fill the matrix units and stay in cache; a
# GPU needs more to be busy.
STEP_TOKENS = {"cpu": 2048, "cuda": 16384}
SHARE = 0.8  # of the free memory may be used
CGROUPS = Path("/sys/fs/cgroup")
Found = TypeVar("Found")


def step_tokens(device: str) -> int:
    """The largest pass, in tokens, where memory does not limit it."""
    return STEP_TOKENS[device.partition(":")[0]]


def free_bytes(device: str) -> float:
    """Bytes that this process can still allocate: on the GPU, or within machine and cgroups.

    Infinite where the system does not say.
    """
    if device.startswith("cuda"):
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + unused
    found = [float("inf")]
    with suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        found.append(int(next(x for x in lines if x.startswith("MemAvailable")).split()[1]) * 1024)
    with suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/self/cgroup").read_text().splitlines()
        folder = CGROUPS / next(x for x in lines if x.startswith("0::"))[3:].lstrip("/")
        for cgroup in (folder, *folder.parents):
            if cgroup.is_relative_to(CGROUPS):
                found.append(_left(cgroup))
    return min(found)


def _left(cgroup: Path) -> float:
    """Bytes below a cgroup's limit; files that it only caches do not count, they can be dropped."""
    with suppress(OSError, StopIteration, ValueError):
        limit = int((cgroup / "memory.max").read_text())
        used = int((cgroup / "memory.current").read_text())
        lines = (cgroup / "memory.stat").read_text().splitlines()
        cached = int(next(x for x in lines if x.startswith("inactive_file ")).split()[1])
        return limit - used + cached
    return float("inf")


def used_by(device: str, work: Callable[[], object]) -> int:
    """Bytes that `work` needs at its peak, beyond those in use before it."""
    if device.startswith("cuda"):
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
    before = peak = _resident()
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.is_set():
            peak = max(peak, _resident())
            time.sleep(0.001)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        work()
    finally:
        done.set()
        watcher.join()
    return peak - before


def _resident() -> int:
    with suppress(OSError, IndexError, ValueError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def fitting_tokens(device: str, most: int, sample: int, work: Callable[[], object]) -> int:
    """The number of tokens that a pass may have, from the measured memory of a sample.

    Args:
        most: the result is never larger.
        sample: tokens of the sample.
        work: the pass over the sample; it runs once, to measure its memory.
    """
    per_token = used_by(device, work) / sample
    free = free_bytes(device)
    fit = most if per_token * most <= SHARE * free else max(1, int(SHARE * free / per_token))
    if fit < most:
        log.warning(
            "memory: %.2f MB per token measured, %.0f MB free: passes of %d tokens instead of %d",
            *(per_token / 2**20, free / 2**20, fit, most),
        )
    return fit


@dataclass
class Passes:
    """How large the passes of one engine may be, and how many of them did not fit into memory."""

    # at most in one pass, forward and backward; 0 where a pass is always a whole batch
    tokens: int = 0
    refused: int = 0  # passes that did not fit
    # called before each pass that computes outputs or gradients of examples; may raise to leave
    tick: Callable[[], None] = lambda: None

    def half(self, size: int, error: Exception, unit: str = "tokens") -> int:
        """Half the size of a pass that did not fit; counts the refusal.

        Raises:
            The error itself, when a pass cannot be made smaller.
        """
        if size <= 1:
            raise error
        self.refused += 1
        log.warning("memory: a pass of %d %s did not fit; going on with %d", size, unit, size // 2)
        return size // 2

    def attempt(
        self, rows: np.ndarray, work: Callable[[np.ndarray], Found]
    ) -> Iterator[tuple[np.ndarray, Found]]:
        """Rows with the result of `work` on them, in as many passes as memory takes."""
        self.tick()
        half = 0
        try:
            found = work(rows)
        except torch.OutOfMemoryError as error:
            half = self.half(len(rows), error, "examples")
        if half:  # outside of the handler, which would keep the failed pass in memory
            yield from self.attempt(rows[:half], work)
            yield from self.attempt(rows[half:], work)
        else:
            yield rows, found
