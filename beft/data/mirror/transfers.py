"""Fetching several things at once: a few threads, how far each one is, and what failed."""

import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from beft.errors import UserError

log = logging.getLogger(__name__)

THREADS = 4
EVERY = 10  # seconds between lines in a log
GB = 1e9


@dataclass
class Transfer:
    """How far one thing is: written by the thread that fetches it, read by the display.

    Attributes:
        step: what is being done.
        total, done: bytes; 0 as long as nobody knows.
    """

    step: str = "waiting"
    total: int = 0
    done: int = 0

    def advance(self, count: int) -> None:
        """Counts bytes."""
        self.done += count


def fetch_all(jobs: Mapping[str, Callable[[Transfer], Any]]) -> list[str]:
    """Runs all jobs, a few at a time; one that fails does not stop the others.

    Args:
        jobs: what is fetched -> what fetches it.

    Returns:
        The lines of those that failed, in the order of the jobs.
    """
    transfers = {name: Transfer() for name in jobs}
    futures = _start(jobs, transfers)
    with _display(transfers) as show:
        running = set(futures)
        while running:
            ended, running = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
            for future in ended:
                transfers[futures[future]].step = _end(futures[future], future)
            show()
    errors = [future.exception() for future in futures]
    return [str(error) for error in errors if error is not None]


def _start(jobs: Mapping[str, Callable], transfers: Mapping[str, Transfer]) -> dict[Future, str]:
    """Lets threads work on jobs. They end with the process: fetching goes on another time."""
    futures = {Future(): name for name in jobs}
    queue: SimpleQueue[Future] = SimpleQueue()
    for future in futures:
        queue.put(future)

    def work() -> None:
        while True:
            try:
                future = queue.get_nowait()
            except Empty:
                return
            name = futures[future]
            try:
                future.set_result(jobs[name](transfers[name]))
            except BaseException as error:
                future.set_exception(error)

    for _ in range(min(THREADS, len(jobs))):
        Thread(target=work, daemon=True).start()
    return futures


def _end(name: str, future: Future) -> str:
    """Says how a job ended; what is nobody's mistake but ours goes on up."""
    error = future.exception()
    if error is None:
        log.info("%s: %s", name, future.result())
        return "done"
    if not isinstance(error, UserError):
        raise error
    log.info("%s: failed", name)
    return "failed"


@contextmanager
def _display(transfers: Mapping[str, Transfer]) -> Iterator[Callable[[], None]]:
    """Bars on a terminal; elsewhere (logs) a line every few seconds. Yields what refreshes it."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(transfers).show
        return
    numbers = (DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    columns = (TextColumn("{task.description}"), BarColumn(), *numbers)
    with Progress(*columns, console=console) as progress:
        bars = {name: progress.add_task(name, total=None) for name in transfers}

        def show() -> None:
            for name, transfer in transfers.items():
                progress.update(
                    bars[name],
                    description=f"{name} {transfer.step}",
                    completed=transfer.done,
                    total=transfer.total or None,
                )

        with _logging_to(sys.stderr):  # which is rich's by now: lines go above the bars
            yield show


@contextmanager
def _logging_to(stream: Any) -> Iterator[None]:
    handlers = [h for h in logging.root.handlers if type(h) is logging.StreamHandler]
    before = [handler.setStream(stream) for handler in handlers]
    try:
        yield
    finally:
        for handler, old in zip(handlers, before, strict=True):
            if old is not None:
                handler.setStream(old)


class _Lines:
    """How far everything is, as lines of a log."""

    def __init__(self, transfers: Mapping[str, Transfer]):
        self.transfers = transfers
        self.last = time.monotonic()
        self.before = dict.fromkeys(transfers, 0)

    def show(self) -> None:
        now = time.monotonic()
        if now - self.last < EVERY:
            return
        for name, transfer in self.transfers.items():
            if transfer.step in ("waiting", "done", "failed"):
                continue
            rate = (transfer.done - self.before[name]) / (now - self.last)
            self.before[name] = transfer.done
            left = max(transfer.total - transfer.done, 0)
            time_left = f", about {left / rate:.0f} s left" if rate and left else ""
            numbers = f"{transfer.done / GB:.3f} of {transfer.total / GB:.3f} GB{time_left}"
            log.info("%s %s (%s)", name, transfer.step, numbers)
        self.last = now
