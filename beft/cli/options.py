"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from beft.store.run_format import Epoch

ParamsOption = Annotated[Path, typer.Option("--params", help="The file of definitions.")]
StudyOption = Annotated[
    str | None,
    typer.Option("--study", help="Name or path of a study; default: `study` in params.yaml."),
]
ReportsOption = Annotated[Path, typer.Option("--reports", help="The folder of the reports.")]
DeviceOption = Annotated[
    str, typer.Option(help="cpu, cuda, cuda:1, ... or auto: a GPU that no other job uses.")
]
ThreadsOption = Annotated[
    int | None, typer.Option(min=1, help="CPU threads; default: as in params.yaml.")
]
EpochOption = Annotated[
    Epoch, typer.Option(help="Take the biases of the best epoch (as the reports do) or the last.")
]
ToOption = Annotated[
    Path, typer.Option("--to", help="The folder to write; it must be empty or not exist.")
]
PARAMS = Path("params.yaml")
REPORTS = Path("reports")
