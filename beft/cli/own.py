"""The command for one's own data: `tune`."""

import logging
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from beft.cli import options as opt
from beft.cli.console import complain
from beft.cli.progress import Progress
from beft.errors import UserError

Data = Annotated[Path, typer.Argument(help="csv, tsv, jsonl, json, parquet or xlsx.")]
Model = Annotated[
    str, typer.Option(help="A pretrained encoder or decoder: a folder, or its id on the hub.")
]
Text = Annotated[
    list[str] | None, typer.Option(help="The column of text; twice for a pair of texts.")
]
Label = Annotated[str | None, typer.Option(help="The column of labels.")]
Test = Annotated[str, typer.Option(help="The share of rows to test on, or another file.")]
Metric = Annotated[
    str | None,
    typer.Option(
        help="accuracy (default), f1, f1_macro, matthews; of numbers spearman (default), pearson."
    ),
]
Minutes = Annotated[
    float,
    typer.Option(
        min=0.1, max=10_000, envvar="BEFT_MINUTES", help="The time that the plan is made for."
    ),
]
Seeds = Annotated[
    int, typer.Option(min=2, max=20, help="Folds of held-out rows, each with its own seed.")
]
Group = Annotated[
    str | None,
    typer.Option(help="A column, such as a customer: its equal values are never split up."),
]
Workers = Annotated[
    int | None, typer.Option(min=1, max=256, help="Processes; default: one per core.")
]
To = Annotated[
    Path | None,
    typer.Option("--to", help="The adapter's folder, absent or empty; without it, see --study."),
]
Study = Annotated[
    str | None,
    typer.Option(
        help="In a project: also write the race to studies/STUDY.yaml, whose runs lie in data/."
    ),
]
Prompt = Annotated[
    str | None,
    typer.Option(help="Of a decoder: a text with {columns}; default: made of their names."),
]
Yes = Annotated[bool, typer.Option("--yes", help="Start without asking.")]


def tune(
    data: Data,
    model: Model,
    to: To = None,
    text: Text = None,
    label: Label = None,
    test: Test = "0.2",
    metric: Metric = None,
    minutes: Minutes = 10.0,
    seeds: Seeds = 5,
    group: Group = None,
    workers: Workers = None,
    prompt: Prompt = None,
    device: opt.Device = "auto",
    study: Study = None,
    params: opt.Params = opt.PARAMS,
    yes: Yes = False,
) -> None:
    """Tune biases on your own labelled file, test them once, and write an adapter.

    A call that was stopped goes on where it was when it is repeated.
    """
    from beft.operations.gpus import device_of
    from beft.tuning.in_project import study_place
    from beft.tuning.tune import tune as run
    from beft.tuning.tune import tune_at
    from beft.tuning.wish import Talk, Wish

    if to is None and study is None:
        raise UserError("tune: give --to FOLDER for the adapter, or --study NAME in a project")
    place = study_place(params, study) if study is not None else None

    wish = Wish(
        *(model, tuple(text or ()), label, _share(test), metric, minutes, seeds, group, workers),
        device=device_of(device),
        # In most shells it is hard to write a line end otherwise.
        prompt=prompt and prompt.replace("\\n", "\n"),
    )
    with Progress() as progress:
        talk = Talk(
            lambda line: print(line, flush=True),
            lambda what, share: progress.update("tune", round(1000 * share), 1000, what),
            lambda: yes or not sys.stdin.isatty() or typer.confirm("start?", default=True),
        )
        with _stoppable():
            if place is not None:
                result = tune_at(place, data, wish, to, talk)
            else:
                result = run(data, wish, to, talk)
    if result is None:
        print(
            f"snakemake --config study={study} (on a cluster with --profile slurm) trains them; "
            "then the same command with --to FOLDER chooses"
        )
        return
    print("\n".join(result.lines()))
    print(f"written: {to}; beft predict {shlex.quote(str(to))} new.csv --to predicted.csv")


@contextmanager
def _stoppable() -> Iterator[None]:
    """Ends processes that train at a signal, after a checkpoint; tells of warnings alone."""
    # Of the jobs' own lines, only those that warn concern a user of this command.
    logging.getLogger("beft").setLevel(logging.WARNING)
    logging.getLogger("beft.cli").setLevel(logging.INFO)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        complain(["stopped; the same command goes on from here"])
        raise


def _share(test: str) -> float | str:
    try:
        share = float(test)
    except ValueError:
        return test
    if not 0 < share < 1:
        raise typer.BadParameter(f"{test}: a share between 0 and 1, or the path of a file")
    return share
