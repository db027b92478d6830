"""How far a command is: bars on a terminal, lines in a log."""

import logging
import sys
import time
from dataclasses import dataclass

from rich import progress as bars
from rich.console import Console
from rich.progress import ProgressColumn

log = logging.getLogger(__name__)

EVERY = 10.0  # seconds between two lines of one job in a log
GB = 1e9


@dataclass
class _Job:
    """A job that reports its progress."""

    phase: str  # the name of its current phase
    done: int  # steps or bytes done at `since`; the speed is measured from there
    since: float  # a time of the monotonic clock
    shown: float  # when its last line was written, likewise
    bar: bars.TaskID | None  # the number of its bar, on a terminal


class Progress:
    """A bar for each job on a terminal; elsewhere a line for each every ten seconds.

    Jobs count bytes or steps.
    """

    def __init__(self, of_bytes: bool = False):
        self.of_bytes = of_bytes
        self.jobs: dict[str, _Job] = {}
        console = Console(stderr=True)
        columns: list[ProgressColumn] = [
            bars.TextColumn("{task.description}"),
            bars.BarColumn(),
            *((bars.DownloadColumn(), bars.TransferSpeedColumn()) if of_bytes else ()),
            bars.TimeRemainingColumn(),
        ]
        self.bars = bars.Progress(*columns, console=console) if console.is_terminal else None

    def __enter__(self) -> "Progress":
        self.streams = []
        if self.bars:
            self.bars.start()
            # rich has replaced sys.stderr: lines that are logged to it appear above the bars
            handlers = [h for h in logging.root.handlers if type(h) is logging.StreamHandler]
            self.streams = [(handler, handler.setStream(sys.stderr)) for handler in handlers]
        return self

    def __exit__(self, *exception: object) -> None:
        for handler, stream in self.streams:
            if stream is not None:
                handler.setStream(stream)
        if self.bars:
            self.bars.stop()

    def update(self, name: str, done: int, total: int, text: str) -> None:
        """Shows how far a job is.

        Args:
            name: the job.
            done: steps or bytes that are done.
            total: all steps or bytes; 0 if unknown.
            text: the current work; up to the first colon, the name of the phase.
        """
        now, phase = time.monotonic(), text.partition(":")[0]
        if name not in self.jobs:
            bar = self.bars.add_task(name, total=None) if self.bars else None
            self.jobs[name] = _Job(phase, done, now, now, bar)
        job = self.jobs[name]
        if phase != job.phase:
            job.phase, job.done, job.since = phase, done, now
        if self.bars and job.bar is not None:
            description = f"{name} {text}"
            self.bars.update(job.bar, completed=done, total=total or None, description=description)
        elif now - job.shown >= EVERY:
            log.info("%s %s (%s%s)", name, text, self._amount(done, total), _left(job, done, total))
            job.shown = now
            if done != job.done:  # else the next line measures the speed since the same moment
                job.done, job.since = done, now

    def _amount(self, done: int, total: int) -> str:
        if self.of_bytes:
            return f"{done / GB:.3f} of {total / GB:.3f} GB"
        return f"{100 * done / max(total, 1):.0f} %"


def _left(job: _Job, done: int, total: int) -> str:
    """The time until a phase ends, at the speed that was measured last."""
    spent, moved = time.monotonic() - job.since, done - job.done
    if moved <= 0 or done >= total or spent < 2:
        return ""
    return f", about {spent * (total - done) / moved:.0f} s left"
