"""`snakemake --logger lines`: a plain line for each finished job, with what it was and how long.

`make demo` puts the folder above this one on PYTHONPATH. The log of a failed job is printed; of
snakemake's own messages, warnings and errors are.
"""

import logging
import sys
import time
from pathlib import Path

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent


class LogHandler(LogHandlerBase):
    """Prints jobs as they end; see `LogHandlerBase` for the interface."""

    writes_to_stream = True
    writes_to_file = False
    has_filter = True
    has_formatter = True
    needs_rulegraph = False

    def __post_init__(self) -> None:
        self.jobs: dict[int, tuple[str, list[str], float]] = {}  # title, logs, start
        self.done = self.total = 0

    def emit(self, record: logging.LogRecord) -> None:
        event = getattr(record, "event", None)
        if event == LogEvent.RUN_INFO:
            self.total = record.stats.get("total", 0)
        elif event == LogEvent.JOB_INFO:
            words = [record.rule_name, *(record.wildcards or {}).values()]
            title = " ".join(word for word in words if word != record.wildcards.get("digest"))
            self.jobs[record.jobid] = title, list(record.log or []), time.monotonic()
        elif event == LogEvent.JOB_FINISHED:
            self.done += 1
            self._line(record.job_id, "")
        elif event == LogEvent.JOB_ERROR:
            self._line(record.jobid, "failed after ")
            for path in map(Path, self.jobs.get(record.jobid, ("", [], 0))[1]):
                if path.is_file():
                    print(path.read_text(errors="replace").rstrip(), file=sys.stderr)
        elif event == LogEvent.ERROR or (event is None and record.levelno >= logging.WARNING):
            print(record.getMessage(), file=sys.stderr, flush=True)

    def _line(self, job: int, verb: str) -> None:
        if job in self.jobs:
            title, _, start = self.jobs[job]
            count = f"[{self.done:>{len(str(self.total))}}/{self.total}]"
            seconds = time.monotonic() - start
            print(f"{count} {title:<60} {verb}{seconds:6.1f} s", file=sys.stderr, flush=True)
