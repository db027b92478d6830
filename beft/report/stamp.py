"""Which study reports/ shows: a file in data/collected whose name is the study's fingerprint.

Snakemake looks at names and times. In a fresh clone it has no record of what it made, and git has
set the times, so reports of other settings would pass for those of this study.
"""

from pathlib import Path

from beft.store.files import to_json, write_file
from beft.study.project import Project


def stamp(project: Project) -> None:
    """Notes that reports/ shows this study, in place of any other."""
    path = _file(project)
    for old in path.parent.glob("*"):
        old.unlink()
    write_file(path, _content(project))


def stamp_flaw(project: Project) -> Path | None:
    """The note, when it is there and damaged."""
    path = _file(project)
    return path if path.is_file() and path.read_bytes() != _content(project) else None


def _file(project: Project) -> Path:
    return project.layout.folder("collected") / f"{project.fingerprint}.json"


def _content(project: Project) -> bytes:
    return to_json({"study": project.name})
