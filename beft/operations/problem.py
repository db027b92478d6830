"""Describe what `beft verify` finds wrong, and repair it."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from beft.store.files import remove, set_aside
from beft.study.project import Project


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, or worth a remark."""

    line: str  # the message; it begins with the file or folder
    # Files to remove, and folders of runs or of the mirror to set aside, so that Snakemake makes
    # them again; empty if that does not help.
    redo: tuple[Path, ...] = ()
    wrong: bool = True  # False: a remark on sound files


def to_redo(problems: Iterable[Problem]) -> list[Path]:
    """Everything that has to be made again, each path once."""
    return list(dict.fromkeys(path for problem in problems for path in problem.redo))


def repair(project: Project, problems: Iterable[Problem]) -> list[Path]:
    """Removes what has to be made again (`beft verify --repair`), and returns the paths.

    Most runs stay: a training job keeps sound ones and sets damaged ones aside. It would not judge
    a whole run of other data, weights or code, or another than its manifest's, so those are set
    aside here, as is a damaged folder of data/mirror.
    """
    gone = to_redo(problems)
    layout = project.layout
    for path in gone:
        if path.is_relative_to(layout.folder("runs")):
            set_aside(path, layout.work(f"{path.name}.refused"))
        elif path.is_dir():
            set_aside(path, layout.work(f"mirror-{path.name}.damaged"))
        else:
            remove(path)
    return gone
