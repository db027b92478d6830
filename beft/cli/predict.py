"""The command `predict`: an adapter of one's own applied to a file."""

import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from beft.cli import options as opt
from beft.cli.progress import Progress
from beft.errors import UserError
from beft.tuning.workers import cores

if TYPE_CHECKING:
    from beft.tuning.predict import Tally


Folders = Annotated[
    list[Path],
    typer.Argument(
        metavar="ADAPTER... FILE",
        help="The folders that 'beft tune' wrote, of one model; then the file to predict.",
    ),
]
Out = Annotated[
    Path, typer.Option("--to", help="The file to write: .csv, .tsv, .jsonl or .parquet.")
]
Text = Annotated[
    list[str] | None,
    typer.Option("--text", help="A column of text; twice for pairs. Default: as tuned on."),
]
Label = Annotated[
    str | None,
    typer.Option("--label", help="A column of labels to compare with. Default: as tuned on."),
]
Base = Annotated[
    Path | None,
    typer.Option("--base", help="The folder of the model that was tuned, if it was moved."),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Write --to even if it is there already.")
]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads; default: all cores.")]


def predict(
    adapters: Folders,
    to: Out,
    text: Text = None,
    label: Label = None,
    base: Base = None,
    overwrite: Overwrite = False,
    device: opt.Device = "auto",
    threads: Threads = None,
) -> None:
    """Predict each row of a file: all columns stay, in the same order, and the answer is added.

    Several adapters of one model share one pass; each adds columns of its own.
    """
    *folders, file = adapters
    if not folders:
        raise UserError(
            f"{file}: no adapter is named; write 'beft predict ADAPTER {file} --to OUT'"
        )
    _check_target(file, to, overwrite)
    threads = threads or cores()
    os.environ.setdefault("RAYON_NUM_THREADS", str(threads))  # of tokenizers
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    import torch

    from beft.operations.gpus import device_of
    from beft.tuning.blocks import open_table
    from beft.tuning.load import load_all
    from beft.tuning.predict import predict_file

    torch.set_num_threads(threads)
    table = open_table(file)
    loaded = load_all(folders, base, device_of(device))
    with Progress() as progress:
        update = partial(progress.update, file.name)
        tallies = predict_file(loaded, table, to, text or (), label, update)
    print(f"{to}: {table.rows:,} rows")
    for tally in tallies:
        for line in _lines(tally):
            print(f"{tally.name}: {line}")


def _check_target(file: Path, to: Path, overwrite: bool) -> None:
    """Makes sure that nothing is lost.

    Raises:
        UserError: the target is there already, or is the file that is read.
    """
    if to.exists() and file.exists() and to.samefile(file):
        raise UserError(f"--to {to}: is the file to predict; write to another one")
    if to.is_dir():
        raise UserError(f"--to {to}: is a folder; name a file")
    if to.exists() and not overwrite:
        raise UserError(f"--to {to}: is there already; name another file, or give --overwrite")


def _lines(tally: "Tally") -> list[str]:
    """What is to be known of an adapter's predictions."""
    facts, lines = tally.adapter.adapted.facts, []
    if metrics := tally.metrics():
        as_percent = bool(facts.classes)
        shown = [
            f"{name} {100 * value:.1f} %" if as_percent else f"{name} {value:.4g}"
            for name, value in metrics.items()
        ]
        lines.append(
            f"{', '.join(shown)} on {_rows(tally.compared)} with a label{_expected(tally)}"
        )
    elif tally.label is not None and not tally.unknown:
        lines.append(f"column '{tally.label}' has no label to compare with")
    if tally.unknown:
        what = "a class of the adapter" if facts.classes else "a number"
        lines.append(f"{_rows(tally.unknown)} with a label that is not {what}, not compared; first "
                     f"{tally.first_unknown}")  # fmt: skip
    if tally.empty:
        lines.append(f"{_rows(tally.empty)} with an empty text, not predicted")
    if tally.cut:
        lines.append(f"{_rows(tally.cut)} with a text that was cut at {facts.max_length} tokens")
    return lines


def _expected(tally: "Tally") -> str:
    """The metric of the test rows, for comparison."""
    test = tally.adapter.adapted.facts.test
    if test is None:
        return ""
    classes = tally.adapter.adapted.facts.classes
    value = f"{100 * test.value:.1f} %" if classes else f"{test.value:.4g}"
    return f"; its test had {test.metric} {value} on {test.rows:,}"


def _rows(count: int) -> str:
    return f"{count:,} row{'s' if count != 1 else ''}"
