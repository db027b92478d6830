"""The frames from which all of reports/ is made, and their csv files."""

import inspect
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import pandas as pd

from beft.errors import UserError, one_line
from beft.report.frames.columns import COLUMNS, NUMBERS
from beft.report.spreadsheet import guarded, unguarded
from beft.store.files import read_json, to_json, write_file

COUNTS = [
    *("train_examples", "trainable_params", "tokens_per_pass", "passes_refused", "threads"),
    "least_demonstrations",
]


Rest = ParamSpec("Rest")
Found = TypeVar("Found")


@dataclass(frozen=True)
class Frames:
    """What a study measured, one table per kind of fact, with the study's resolved settings.

    Attributes:
        runs: one row per run, whatever became of it, with what guessing gives on the first
            validation split, and whether the best epoch predicts the same for all its examples.
        evaluations: every metric of a run on every validation split, of its best and last epoch
            and of guessing, and of in-context learning the mean and the least number of
            demonstrations of a prompt.
        history: the reported metric and the training loss after every epoch of a run.
        problems: why runs do not count.
        provenance: where a run's numbers come from.
        scores: of every selector, term and layer.
        trajectories: scores of q, k and v after each epoch of a run of `all_biases`.
        gradients: size of each term's gradient before training, also relative to the largest of q,
            k and v.
        intervals: bootstrap intervals of the metric, per cell of a table.
        comparisons: paired differences between two techniques of a cell.
        timings: seconds of a run that had its process and the machine to itself.
        merges: metrics of biases that were tuned on one task, or averaged, on each task.
        settings: the study as it was resolved.
    """

    runs: pd.DataFrame
    evaluations: pd.DataFrame
    history: pd.DataFrame
    problems: pd.DataFrame
    provenance: pd.DataFrame
    scores: pd.DataFrame
    trajectories: pd.DataFrame
    gradients: pd.DataFrame
    intervals: pd.DataFrame
    comparisons: pd.DataFrame
    timings: pd.DataFrame
    merges: pd.DataFrame
    settings: dict
    # what `derived` functions found in these frames, by function and arguments
    found: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False, compare=False)


def derived(function: Callable[Rest, Found]) -> Callable[Rest, Found]:
    """Make a function of frames compute its result once for each `Frames`; do not change it.

    Tables, figures and the page ask for the same cells again and again; over many runs that would
    take most of a report's time.
    """

    signature, name = inspect.signature(function), f"{function.__module__}.{function.__qualname__}"

    @wraps(function)
    def recalled(*args: Rest.args, **kwargs: Rest.kwargs) -> Found:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        frames, *rest = bound.args
        key = (name, *rest)
        if key not in frames.found:
            frames.found[key] = function(*args, **kwargs)
        found: Found = frames.found[key]
        return found

    return recalled


def frame(name: str, rows: Iterable[Mapping[str, object] | tuple]) -> pd.DataFrame:
    """Make a frame with exactly the columns of its name; a tuple has a value for each of them."""
    table = pd.DataFrame(list(rows), columns=COLUMNS[name])
    # A run that is missing must not turn the counts of all others into decimals.
    return table.astype({c: "Int64" for c in COUNTS if c in table})


def rows_of(table: pd.DataFrame) -> Iterator[Any]:  # Any: a column has no static type
    """Iterate over the rows of a table as named tuples."""
    return table.itertuples()


def groups_of(table: pd.DataFrame, keys: str | list[str]) -> Iterator[tuple[Any, pd.DataFrame]]:
    """Iterate over groups of rows in order of appearance; a list of keys gives tuples."""
    return iter(table.groupby(keys, sort=False))


def render(frames: Frames) -> dict[str, bytes]:
    """File name -> content: each frame as csv and the settings as JSON."""
    files = {}
    for name in COLUMNS:
        table = _texts(getattr(frames, name), guarded)
        files[f"{name}.csv"] = table.to_csv(index=False, lineterminator="\n").encode()
    return files | {"settings.json": to_json(frames.settings)}


def write(frames: Frames, reports: Path) -> None:
    """Writes the frames' files."""
    for name, content in render(frames).items():
        write_file(reports / name, content)


def read(reports: Path) -> Frames:
    """Read the frames that `write` wrote.

    Raises:
        UserError: when one is missing or damaged; `beft report` writes them.
    """
    tables = {}
    for name in COLUMNS:
        path = reports / f"{name}.csv"
        if not path.is_file():
            raise UserError(f"{path}: missing; run 'beft report' to write it")
        try:
            tables[name] = read_table(path)
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: damaged ({error}); run 'beft report' again") from None
        _check_columns(tables[name], COLUMNS[name], path)
    assert {f.name for f in fields(Frames) if f.init} == {*tables, "settings"}
    settings = read_json(reports / "settings.json")
    if not isinstance(settings, dict):
        raise UserError(f"{reports / 'settings.json'}: not a mapping; run 'beft report' again")
    return Frames(**tables, settings=settings)


def _check_columns(table: pd.DataFrame, columns: list[str], path: Path) -> None:
    """Checks that a frame has its columns, and numbers where numbers belong."""
    if lacking := [column for column in columns if column not in table]:
        raise UserError(
            f"{path}: the column '{lacking[0]}' is missing; run 'beft report' to write it again"
        )
    for column in NUMBERS.intersection(columns):
        values = table[column]
        bad = values.notna() & pd.to_numeric(values, errors="coerce").isna()
        if bad.any():
            line = int(bad.to_numpy().argmax()) + 2
            shown = one_line(values[bad].iloc[0], 60)
            raise UserError(
                f"{path}, line {line}: {column}: '{shown}' is no number; run 'beft report' to "
                "write it again"
            )


def read_table(path: Path) -> pd.DataFrame:
    """Read the csv file of a frame, its numbers to the last digit."""
    types: dict[str, type | str] = {"digest": str, "layer": str, "commit": str, "code": str}
    types |= {"inert": "boolean", "dirty": "boolean", "constant": "boolean"}
    table = pd.read_csv(
        path,
        dtype=types,
        keep_default_na=False,
        na_values=[""],
        float_precision="round_trip",
    )
    return _texts(table, unguarded)


def _texts(table: pd.DataFrame, change: Callable[[object], object]) -> pd.DataFrame:
    """A table with its texts changed, in the few columns where one has to be."""
    kinds = (pd.api.types.is_string_dtype, pd.api.types.is_object_dtype)
    names = [name for name in table if any(is_kind(table[name]) for is_kind in kinds)]
    changed = [n for n in names if any(change(word) is not word for word in table[n].unique())]
    return table.assign(**{str(name): table[name].map(change) for name in changed})
