"""Commands that turn runs into what people read, from `score` to `compare`."""

import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from beft.cli import options as opt
from beft.cli.console import console
from beft.errors import UserError
from beft.store.files import explain_os_errors, write_file
from beft.store.run_format import Epoch

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

    from beft.study.project import Project

log = logging.getLogger(__name__)


def score(
    scores: Annotated[Path, typer.Argument(help="The file to write, below data/scores.")],
    study: opt.Study = None,
    params: opt.Params = opt.PARAMS,
) -> None:
    """Score every bias term of a model, task and regime with the study's selectors."""
    from beft.selectors.score_files import write_cell
    from beft.store.run_folder import check_sound, open_run

    project = opt.load(params, study)
    cell = project.find(project.cells, "scores", scores)
    for recipe in cell.runs:
        check_sound(open_run(project.layout, recipe))
    write_cell(project.layout, cell)


def collect(
    study: opt.Study = None, params: opt.Params = opt.PARAMS, reports: opt.Reports = opt.REPORTS
) -> None:
    """Collect all runs and scores of the study in the csv files of the reports."""
    _collect(opt.load(params, study), reports)


def _collect(project: "Project", reports: Path) -> None:
    from beft.report.frames import schema
    from beft.report.frames.collect import collect
    from beft.report.stamp import stamp

    schema.write(collect(project), reports)
    if reports.resolve() == project.root / "reports":
        stamp(project)


def tabulate(reports: opt.Reports = opt.REPORTS) -> None:
    """Write the tables and metrics.json from the csv files."""
    from beft.report.build import write_tables
    from beft.report.frames import schema

    with explain_os_errors(reports):
        paths = write_tables(schema.read(reports), reports)
    log.info("wrote %d files of tables to %s", len(paths), reports)


def plot(reports: opt.Reports = opt.REPORTS) -> None:
    """Draw the figures from the csv files."""
    from beft.report.build import write_figures
    from beft.report.frames import schema

    with explain_os_errors(reports):
        write_figures(schema.read(reports), reports)


def page(reports: opt.Reports = opt.REPORTS) -> None:
    """Write index.html from the csv files, tables and figures."""
    from beft.report.build import write_page
    from beft.report.frames import schema

    with explain_os_errors(reports):
        write_page(schema.read(reports), reports)


def report(
    study: opt.Study = None, params: opt.Params = opt.PARAMS, reports: opt.Reports = opt.REPORTS
) -> None:
    """Write all reports from the runs that exist now; missing runs are shown as missing."""
    from beft.report.build import build
    from beft.selectors.score_files import write_cell
    from beft.store.locks import alone
    from beft.store.run_folder import open_run

    project = opt.load(params, study)
    layout = project.layout
    with alone(layout.work("reports"), "reports are being written"):
        for cell in project.cells.values():
            scored = all(layout.scores(key).is_file() for key in cell.files())
            if not scored and not any(open_run(layout, recipe).unsound for recipe in cell.runs):
                write_cell(layout, cell)
        _collect(project, reports)
        with explain_os_errors(reports):
            build(reports)


def summary(reports: opt.Reports = opt.REPORTS) -> None:
    """Print the selected term of each task, and the path of the report page."""
    from beft.report.analysis import cells
    from beft.report.analysis.selection import PRINTED, selection
    from beft.report.frames import schema

    chosen = selection(cells.shown(schema.read(reports)))
    console().print(selected_terms(chosen[chosen["selector"].isin(PRINTED)]))
    console().print(f"\n{(reports / 'index.html').resolve()}", soft_wrap=True)


def selected_terms(chosen: "pd.DataFrame") -> "Table":
    """The term that each selector chose and the best term, a row for each model, task and regime.

    The metric of the best term stands beside what guessing gives.

    Args:
        chosen: rows of `beft.report.analysis.selection.selection`.
    """
    from rich.table import Table
    from rich.text import Text

    from beft.report.analysis.guessing import UNBEATEN
    from beft.report.frames.columns import CELL

    keys = [key for key in CELL if key != "model" or chosen["model"].nunique() > 1]
    table = Table(title="Selected term, and the term that came out best")
    columns = ("best", "lead", "metric", "guessing")
    for column in (*keys, *dict.fromkeys(chosen["selector"]), *columns):
        table.add_column(column)
    for _, part in chosen.groupby(CELL, sort=False):
        first = part.iloc[0]
        picks = [
            f"{term} (inert)" if inert else term or "-"
            for term, inert in zip(part["selected"], part["selected_inert"], strict=True)
        ]
        lead = f"{100 * first['lead']:.1f} points" if math.isfinite(first["lead"]) else ""
        best = first["best"] or f"undecided: {first['reason']}"
        best += f" ({UNBEATEN})" if first["best"] and first["unbeaten"] else ""
        rates = (
            f"{100 * rate:.1f} %" if math.isfinite(rate) else ""
            for rate in (first["best_mean"], first["guessing"])
        )
        table.add_row(*map(Text, (*(first[key] for key in keys), *picks, best, lead, *rates)))
    return table


def compare(
    first: Annotated[
        str, typer.Argument(metavar="A", help="A folder of reports, or a git revision.")
    ],
    second: Annotated[
        str, typer.Argument(metavar="B", help="The folder or revision to compare with A.")
    ] = str(opt.REPORTS),
    epoch: Annotated[
        Epoch, typer.Option(help="Compare the metrics of each run's best or last epoch.")
    ] = "best",
    to: Annotated[
        Path | None,
        typer.Option("--to", help="Write the whole comparison to this .md, .csv or .tex file."),
    ] = None,
) -> None:
    """Show how two reports differ: folders, or git revisions of reports/.

    For example: beft compare HEAD~1
    """
    from beft.report.compare import view
    from beft.report.compare.compare import compare as compare_reports
    from beft.report.compare.revisions import open_reports
    from beft.report.tables.formats import WRITERS

    if to is not None and to.suffix not in WRITERS:
        raise UserError(f"--to {to}: the name must end with {', '.join(WRITERS)}")
    found = compare_reports(open_reports(first), open_reports(second), epoch)
    table = view.as_table(found)
    if to is None:
        view.show(table, console())
        return
    with explain_os_errors(to):
        write_file(to, WRITERS[to.suffix](table).encode())
    print(f"{to}: {view.headline(found)}")
