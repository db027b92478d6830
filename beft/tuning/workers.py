"""Several processes that train runs side by side, and how far they are."""

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from beft.errors import UserError

TICK = 0.2  # seconds between two reports of progress
PATIENCE = 60  # seconds for a checkpoint
AGAIN = 0.5  # seconds between two signals


def cores() -> int:
    """The cores that this process may use, which a batch job has fewer of than the machine."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Workers:
    """Processes that take jobs one after the other; a context manager that ends them."""

    def __init__(self, params: Path, log: Path, count: int, device: str):
        """Starts them.

        Args:
            params: the file of the project.
            log: the file that what they print is added to.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        self.log = log.open("ab")
        # -P: files of the user's folder, such as random.py, are not taken for modules.
        command = [sys.executable, "-P", "-m", "beft.tuning.worker", str(params), device]
        self.processes = [self._start(command) for _ in range(count)]

    def _start(self, command: list[str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True
        )

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *exception: object) -> None:
        """Ends the processes; one that trains writes a checkpoint first.

        A signal that comes when the last step of a job is done ends nothing: the process would wait
        for its next job, or begin one that was already sent. So the signal is repeated.
        """
        until = time.monotonic() + PATIENCE
        while living := [p for p in self.processes if p.poll() is None]:
            for process in living:
                process.terminate() if time.monotonic() < until else process.kill()
            with suppress(subprocess.TimeoutExpired):
                living[0].wait(AGAIN)
        for process in self.processes:
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()
        self.log.close()

    def train(
        self,
        study: Path,
        jobs: Sequence[Sequence[str]],
        progress: Callable[[float], None] = lambda share: None,
    ) -> None:
        """Trains the runs of a study.

        Args:
            jobs: the digests of the runs that are trained together; the longest jobs first.
            progress: called with the share of the jobs that is done, from 0 to 1.

        Raises:
            UserError: a run cannot be trained.
        """
        todo: queue.SimpleQueue[tuple[int, Sequence[str]]] = queue.SimpleQueue()
        for item in enumerate(jobs):
            todo.put(item)
        shares = [0.0] * len(jobs)
        errors: list[str] = []

        def work(process: subprocess.Popen[str]) -> None:
            while not errors:
                try:
                    number, digests = todo.get_nowait()
                except queue.Empty:
                    return
                wish = {"study": str(study), "digests": list(digests)}
                try:
                    problem = _one(process, wish, partial(shares.__setitem__, number))
                except EOFError:
                    status = process.wait()
                    problem = (
                        f"a process that trains ended with status {status} (see {self.log.name})"
                    )
                if problem is not None:
                    errors.append(problem)
                shares[number] = 1.0

        threads = [threading.Thread(target=work, args=(p,), daemon=True) for p in self.processes]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            time.sleep(TICK)
            progress(sum(shares) / max(len(shares), 1))
        if errors:
            raise UserError(errors[0])


def _one(
    process: "subprocess.Popen[str]", wish: dict[str, Any], share: Callable[[float], None]
) -> str | None:
    """Has one job done; returns what went wrong, if anything.

    Raises:
        EOFError: the process has ended.
    """
    assert process.stdin is not None and process.stdout is not None
    with suppress(OSError):  # it has ended, as its output will tell
        process.stdin.write(json.dumps(wish) + "\n")
        process.stdin.flush()
    for line in process.stdout:
        said = json.loads(line)
        if "error" in said:
            return str(said["error"])
        if "trained" in said:
            return None
        share(said["done"] / max(said["total"], 1))
    raise EOFError
