"""Note in a run's work folder why an attempt to train it wrote no run."""

from pathlib import Path
from typing import Literal

from beft.store.files import read_json, to_json, write_file

FAILURE = "error.json"
Status = Literal["ok", "diverged", "failed", "skipped", "missing"]  # what became of a run


def note_failure(work: Path, status: Status, reason: str) -> None:
    """Notes why the last attempt wrote no run."""
    write_file(work / FAILURE, to_json({"reason": reason, "status": status}))


def noted_failure(work: Path) -> tuple[Status, str] | None:
    """Status and reason of the last attempt; None if nothing was noted."""
    if not (work / FAILURE).is_file():
        return None
    noted = read_json(work / FAILURE)
    return noted["status"], noted["reason"]


def forget_failure(work: Path) -> None:
    """Removes what `note_failure` wrote."""
    (work / FAILURE).unlink(missing_ok=True)
