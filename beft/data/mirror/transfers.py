"""Fetch several things at once, in a few threads."""

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TypeVar

from beft.errors import UserError

log = logging.getLogger(__name__)

THREADS = 4


@dataclass
class Transfer:
    """How far a job is; the thread that fetches writes it, and `fetch_all` reads it."""

    step: str = "waiting"  # what is being done now
    total: int = 0  # bytes to fetch; 0 as long as that is unknown
    done: int = 0  # bytes that have been fetched

    def advance(self, count: int) -> None:
        """Adds to the bytes that have been fetched."""
        self.done += count


T = TypeVar("T")
# Fetches one thing, and returns the folder where it lies.
Job = Callable[[Transfer], Path]


def fetch_all(
    jobs: Mapping[str, Job],
    show: Callable[[str, int, int, str], None] = lambda name, done, total, step: None,
) -> list[str]:
    """Runs all jobs, a few at a time; if one fails, the others continue.

    Args:
        jobs: a job for each name.
        show: called a few times a second for each job that is running or has just ended, with its
            name, the bytes done, the bytes in total, and what it is doing.

    Returns:
        The error messages of the jobs that failed, in the order of the jobs.

    Raises:
        Exception: if a job ends with any other error than a UserError.
    """
    transfers = {name: Transfer() for name in jobs}
    futures = _start(jobs, transfers)
    running = set(futures)
    while running:
        ended, running = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
        for future in ended:
            transfers[futures[future]].step = _end(futures[future], future)
        for future in (*ended, *running):
            transfer = transfers[futures[future]]
            if transfer.step != "waiting":
                show(futures[future], transfer.done, transfer.total, transfer.step)
    errors = [future.exception() for future in futures]
    return [str(error) for error in errors if error is not None]


def ask_all(questions: Mapping[str, Callable[[], T]]) -> dict[str, T | UserError]:
    """Asks several things at once; returns each answer, or the error that was raised instead.

    Raises:
        Exception: if a question ends with any other error than a UserError.
    """
    jobs = {name: partial(_ask, question) for name, question in questions.items()}
    futures = _start(jobs, {name: Transfer() for name in jobs})
    answers: dict[str, T | UserError] = {}
    for future, name in futures.items():
        error = future.exception()
        if error is not None and not isinstance(error, UserError):
            raise error
        answers[name] = future.result() if error is None else error
    return answers


def _ask(question: Callable[[], T], transfer: Transfer) -> T:
    return question()


def _start(
    jobs: Mapping[str, Callable[[Transfer], T]], transfers: Mapping[str, Transfer]
) -> dict[Future[T], str]:
    """Starts threads that work through the jobs.

    The threads end with the process; a later call continues what they were fetching.
    """
    futures: dict[Future[T], str] = {Future(): name for name in jobs}
    queue: SimpleQueue[Future[T]] = SimpleQueue()
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


def _end(name: str, future: Future[Path]) -> str:
    """Logs how a job ended, and raises its error unless the user can fix it."""
    error = future.exception()
    if error is None:
        log.info("%s: %s", name, future.result())
        return "done"
    if not isinstance(error, UserError):
        raise error
    log.info("%s: failed", name)
    return "failed"
