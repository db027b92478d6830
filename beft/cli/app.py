"""The command line: `beft COMMAND`. Every rule of the workflow is one of these commands."""

import errno
import logging
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from beft.errors import UserError

app = typer.Typer(
    name="beft",
    help="Choose and fine-tune one bias term per attention layer of a language model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ParamsOption = Annotated[Path, typer.Option("--params", help="The definitions.")]
StudyOption = Annotated[
    str | None, typer.Option("--study", help="A study's name or path; default: params.yaml's.")
]
ReportsOption = Annotated[Path, typer.Option("--reports", help="The folder of reports.")]
DeviceOption = Annotated[
    str, typer.Option(help="cpu, cuda, cuda:1, ... or auto: a GPU that no other job has.")
]
ThreadsOption = Annotated[int | None, typer.Option(min=1, help="CPU threads.")]
EpochOption = Annotated[
    Literal["best", "last"], typer.Option(help="Which biases: the reported ones are the best.")
]
PARAMS = Path("params.yaml")
# Errors of disks and their rights, where no file of ours was being written: what is printed.
MACHINE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO)
REPORTS = Path("reports")


@app.command()
def fetch(
    task: Annotated[list[str] | None, typer.Option(help="Fetch the dataset of this task.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="Fetch this model.")] = None,
    study: StudyOption = None,
    params: ParamsOption = PARAMS,
    check: Annotated[
        bool, typer.Option("--check", help="Only say what is missing or not as pinned.")
    ] = False,
) -> None:
    """Bring datasets and models to data/ (from mirror, hub, local files or the demo's grammar).

    Without --task and --model: everything that the study needs. What was interrupted goes on.
    """
    from beft.cli import commands

    commands.fetch(params, study, task or [], model or [], check)


@app.command()
def subsample(
    subset: Annotated[Path, typer.Argument(help="The index file to write, below data/subsets.")],
    study: StudyOption = None,
    params: ParamsOption = PARAMS,
) -> None:
    """Draw the training rows of a (task, regime, seed)."""
    from beft.cli import commands

    commands.subsample(params, study, subset)


@app.command()
def train(
    manifest: Annotated[Path, typer.Argument(help="The pack's manifest, below data/packs.")],
    study: StudyOption = None,
    params: ParamsOption = PARAMS,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    checkpoint_seconds: Annotated[
        float | None, typer.Option(min=0, help="A killed job repeats at most this much.")
    ] = None,
) -> None:
    """Train the runs of a pack: skip sound ones, resume half-done ones, write the manifest."""
    from beft.cli import commands

    commands.train(params, study, manifest, device, threads, checkpoint_seconds)


@app.command()
def score(
    scores: Annotated[Path, typer.Argument(help="The file to write, below data/scores.")],
    study: StudyOption = None,
    params: ParamsOption = PARAMS,
) -> None:
    """Score every bias term of a (model, task, regime) with the study's selectors."""
    from beft.cli import commands

    commands.score(params, study, scores)


@app.command()
def time(
    timings: Annotated[Path, typer.Argument(help="The file to write, below data/timings.")],
    study: StudyOption = None,
    params: ParamsOption = PARAMS,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
) -> None:
    """Measure how long runs take, each alone in its process; nothing else should run meanwhile."""
    from beft.cli import commands

    commands.time(params, study, timings, device, threads)


@app.command(name="evaluate-merge")
def evaluate_merge(
    merges: Annotated[Path, typer.Argument(help="The file to write, below data/merges.")],
    study: StudyOption = None,
    params: ParamsOption = PARAMS,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
) -> None:
    """Evaluate the biases of two tasks, and their mean, on both of the tasks."""
    from beft.cli import commands

    commands.evaluate_merge(params, study, merges, device, threads)


@app.command()
def collect(
    study: StudyOption = None, params: ParamsOption = PARAMS, reports: ReportsOption = REPORTS
) -> None:
    """Gather all runs and scores of the study into the csv files of the reports."""
    from beft.cli import commands

    commands.collect(params, study, reports)


@app.command()
def tabulate(reports: ReportsOption = REPORTS) -> None:
    """Write the tables and metrics.json from the csv files."""
    from beft.cli import commands

    commands.tabulate(reports)


@app.command()
def plot(reports: ReportsOption = REPORTS) -> None:
    """Draw the figures from the csv files."""
    from beft.cli import commands

    commands.plot(reports)


@app.command()
def page(reports: ReportsOption = REPORTS) -> None:
    """Write index.html from the csv files, tables and figures."""
    from beft.cli import commands

    commands.page(reports)


@app.command()
def report(
    study: StudyOption = None, params: ParamsOption = PARAMS, reports: ReportsOption = REPORTS
) -> None:
    """Write all reports from whatever has been run so far; what is missing is shown as missing."""
    from beft.cli import commands

    commands.report(params, study, reports)


@app.command()
def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="A folder of reports or a revision.")],
    second: Annotated[
        str, typer.Argument(metavar="B", help="What to hold against it, likewise.")
    ] = str(REPORTS),
    epoch: Annotated[
        Literal["best", "last"], typer.Option(help="From which epoch a run's number is.")
    ] = "best",
    to: Annotated[
        Path | None, typer.Option("--to", help="Write all of it to this .md, .csv or .tex file.")
    ] = None,
) -> None:
    """Say what differs between two reports: folders, or git revisions of reports/.

    For example: beft compare HEAD~1
    """
    from beft.cli import commands

    commands.compare(first, second, epoch, to)


@app.command()
def plan(
    study: StudyOption = None,
    params: ParamsOption = PARAMS,
    profile: Annotated[
        str | None,
        typer.Option(help="A workflow profile: what the jobs it would submit cost, and its study."),
    ] = None,
) -> None:
    """Say what the study would run and what is already there, before anything starts."""
    from beft.cli import commands

    commands.plan(params, study, profile)


@app.command()
def verify(
    study: StudyOption = None,
    params: ParamsOption = PARAMS,
    repair: Annotated[
        bool, typer.Option("--repair", help="Make the next snakemake redo what is not sound.")
    ] = False,
    accept_code: Annotated[
        bool, typer.Option("--accept-code", help="Declare that edited code gives equal numbers.")
    ] = False,
) -> None:
    """Check that every number belongs to its recipe: digests, checksums, inputs, code, reports."""
    from beft.cli import commands

    commands.verify(params, study, repair, accept_code)


@app.command()
def prune(
    params: ParamsOption = PARAMS,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove runs, and what was made for them, that no study in studies/ names; asks first."""
    from beft.cli import commands

    commands.prune(params, yes)


@app.command()
def export(
    digest: Annotated[str, typer.Argument(help="Of a run of the study, or how it begins.")],
    to: Annotated[Path, typer.Option("--to", help="The folder to write, absent or empty.")],
    epoch: EpochOption = "best",
    study: StudyOption = None,
    params: ParamsOption = PARAMS,
) -> None:
    """Write a run's tuned biases and head as a BEFT adapter that PEFT loads."""
    from beft.cli import commands

    commands.export(params, study, digest, to, epoch)


@app.command()
def merge(
    digests: Annotated[list[str], typer.Argument(help="Of two or more runs, or how they begin.")],
    to: Annotated[Path, typer.Option("--to", help="The folder to write, absent or empty.")],
    weights: Annotated[
        str | None, typer.Option(help="Of each run, such as 0.7,0.3; default: all equal.")
    ] = None,
    epoch: EpochOption = "best",
    study: StudyOption = None,
    params: ParamsOption = PARAMS,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
) -> None:
    """Average the tuned biases of several runs; write a BEFT adapter of the mean for each task."""
    from beft.cli import commands

    commands.merge(params, study, digests, to, weights, epoch, device, threads)


@app.command()
def recover(
    then: Annotated[
        list[str] | None,
        typer.Argument(metavar="[-- OPTIONS]", help="Go on with snakemake and these options."),
    ] = None,
    adopt: Annotated[
        bool, typer.Option("--adopt", help="Wait for jobs that still train, do not end them.")
    ] = False,
    params: ParamsOption = PARAMS,
) -> None:
    """After snakemake died: end or adopt what it left running, unlock, go on.

    For example: beft recover -- --profile slurm
    """
    from beft.cli import commands

    commands.recover(params, adopt, then or [])


@app.command()
def schema(
    folder: Annotated[Path, typer.Argument(help="Where to write them.")] = Path("workflow/schemas"),
) -> None:
    """Write the JSON schemas of params.yaml and of studies."""
    from beft.cli import commands

    commands.schema(folder)


@app.command()
def summary(reports: ReportsOption = REPORTS) -> None:
    """Print the selected term of every task, and where the page lies."""
    from beft.cli import commands

    commands.summary(reports)


def main() -> None:
    """Entry point: 0 on success, 2 and one clear line on a mistake or a broken machine."""
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("beft").setLevel(logging.INFO)
    usage_error = typer.BadParameter.__base__  # typer exports it under no name of its own
    try:
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False)
    except (UserError, usage_error) as error:
        message = str(error) if isinstance(error, UserError) else error.format_message()
        print(f"beft: {' '.join(message.split())}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        if error.errno not in MACHINE:
            raise
        print(f"beft: {error.filename or 'output'}: {error.strerror}", file=sys.stderr)
        sys.exit(2)
    except typer.Abort:
        sys.exit(130)
    sys.exit(code)
