"""Options that several commands share, and the project that they name."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from beft.store import run_format

if TYPE_CHECKING:
    from beft.study.project import Project

Params = Annotated[Path, typer.Option("--params", help="The file of definitions.")]
Study = Annotated[
    str | None,
    typer.Option("--study", help="Name or path of a study; default: `study` in params.yaml."),
]
Reports = Annotated[Path, typer.Option("--reports", help="The folder of the reports.")]
Device = Annotated[
    str, typer.Option(help="cpu, cuda, cuda:1, ... or auto: a GPU that no other job uses.")
]
Threads = Annotated[
    int | None, typer.Option(min=1, help="CPU threads; default: as in params.yaml.")
]
Epoch = Annotated[
    run_format.Epoch,
    typer.Option(help="Take the biases of the best epoch (as the reports do) or the last."),
]
To = Annotated[
    Path, typer.Option("--to", help="The folder to write; it must be empty or not exist.")
]
PARAMS = Path("params.yaml")
REPORTS = Path("reports")


def load(params: Path, study: str | None) -> "Project":
    """The project of these options; imported here, so that `beft --help` waits for no library."""
    from beft.study import project

    return project.load(params, study)
