"""`beft verify --repair`: take away what no longer tells the truth; snakemake makes it again."""

from pathlib import Path

from beft.operations.verify import Problem
from beft.store.files import remove, set_aside
from beft.study.project import Project


def repair(project: Project, problems: list[Problem]) -> list[Path]:
    """Takes away what a study's problems ask for.

    Sound runs stay and are not trained again; damaged ones are set aside by the pack job, and a
    damaged copy in data/mirror is set aside here.

    Returns:
        What is gone, and will be made again.
    """
    found = [path for problem in problems for path in problem.redo]
    gone = list(dict.fromkeys(found))
    for path in gone:
        if path.is_dir():
            set_aside(path, project.layout.work(f"mirror-{path.name}.damaged"))
        else:
            remove(path)
    return gone
