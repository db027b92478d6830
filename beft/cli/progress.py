"""How far a job is: a bar on a terminal, lines in a log."""

import logging
import time

from rich import progress
from rich.console import Console

log = logging.getLogger(__name__)


class Progress:
    """A bar on a terminal; elsewhere (logs) a line every few seconds."""

    def __init__(self, cell: str, every: float = 10):
        self.cell, self.every = cell, every
        self.phase = ""
        self.started = self.last = time.monotonic()
        console = Console(stderr=True)
        columns = (
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.TimeRemainingColumn(),
        )
        self.bar = progress.Progress(*columns, console=console) if console.is_terminal else None

    def __enter__(self) -> "Progress":
        if self.bar:
            self.bar.start()
            self.task = self.bar.add_task(self.cell)
        return self

    def __exit__(self, *exception) -> None:
        if self.bar:
            self.bar.stop()

    def update(self, done: int, total: int, text: str) -> None:
        """Steps of what is going on; `text` says what, up to its first colon which phase."""
        now = time.monotonic()
        phase = text.partition(":")[0]
        if phase != self.phase:
            self.phase, self.started = phase, now
        if self.bar:
            description = f"{self.cell} {text}"
            self.bar.update(self.task, completed=done, total=total, description=description)
        elif now - self.last >= self.every:
            self.last = now
            spent, share = now - self.started, done / max(total, 1)
            left = f", about {spent * (1 / share - 1):.0f} s left" if share and spent > 2 else ""
            log.info("%s %s (%.0f %%%s)", self.cell, text, 100 * share, left)
