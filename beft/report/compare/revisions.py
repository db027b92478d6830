"""Read reports from a folder or a git revision, also those of earlier versions."""

import io
import json
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from beft.errors import UserError
from beft.report.frames import schema as F
from beft.report.frames.columns import COLUMNS, KEYS

REPORTS = "reports"
NEEDED = (*KEYS, "seed", "best", "last", "status", "digest")  # of runs.csv
NUMBERS = ("seed", "best", "last")


@dataclass(frozen=True)
class Reports:
    """Reports as they were found.

    Attributes:
        label: what they were asked for by.
        frames: what they hold; a frame or a column that they lack is empty.
        lacking: names of the files, and `file: column`, that they lack.
    """

    label: str
    frames: F.Frames
    lacking: tuple[str, ...]


def open_reports(name: str) -> Reports:
    """The reports in a folder of this name or, where there is none, in this git revision.

    Raises:
        UserError: it is neither, or what it holds are not reports.
    """
    if Path(name).is_dir():
        return read(Path(name), name)
    with tempfile.TemporaryDirectory() as folder:
        _extract(name, Path(folder))
        return read(Path(folder) / REPORTS, name)


def read(folder: Path, label: str) -> Reports:
    """Reports in which all but runs.csv may be missing, as in those of an earlier version.

    Raises:
        UserError: runs.csv is missing or lacks a column, or a file is damaged.
    """
    if not (folder / "runs.csv").is_file():
        raise UserError(f"{label}: holds no runs.csv, so these are no reports of beft")
    tables, lacking = {}, []
    for name, columns in COLUMNS.items():
        path = folder / f"{name}.csv"
        if not path.is_file():
            tables[name] = F.frame(name, [])
            lacking.append(path.name)
            continue
        table = _table(path, label)
        lacking += [f"{path.name}: {column}" for column in columns if column not in table]
        tables[name] = table.reindex(columns=columns)
    settings = folder / "settings.json"
    if not settings.is_file():
        lacking.append(settings.name)
    _check(tables["runs"], lacking, label)
    return Reports(label, F.Frames(**tables, settings=_settings(settings, label)), tuple(lacking))


def _table(path: Path, label: str) -> pd.DataFrame:
    try:
        return F.read_table(path)
    except (ValueError, UnicodeDecodeError) as error:  # pandas' own errors are ValueErrors
        raise UserError(f"{label}: {path.name}: damaged ({error})") from None


def _settings(path: Path, label: str) -> dict:
    try:
        found = json.loads(path.read_bytes()) if path.is_file() else {}
    except ValueError as error:
        raise UserError(f"{label}: {path.name}: damaged ({error})") from None
    if not isinstance(found, dict):
        raise UserError(f"{label}: {path.name}: damaged (not a mapping)")
    return found


def _check(runs: pd.DataFrame, lacking: list[str], label: str) -> None:
    """Of runs.csv all columns that cells are made of must be there, and numbers be numbers."""
    for column in NEEDED:
        if f"runs.csv: {column}" in lacking:
            raise UserError(f"{label}: runs.csv: the column {column!r} is missing")
    for column in NUMBERS:
        bad = runs[column].notna() & pd.to_numeric(runs[column], errors="coerce").isna()
        if bad.any():
            line = int(bad.to_numpy().argmax()) + 2
            value = runs[column][bad].iloc[0]
            raise UserError(f"{label}: runs.csv, line {line}: {column}: {value!r} is no number")


def _extract(revision: str, folder: Path) -> None:
    """Extract reports/ of a git revision into a folder."""
    found = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    if found.returncode:
        raise UserError(f"{revision}: neither a folder nor a revision of a git repository here")
    commit = found.stdout.decode().strip()
    packed = _git("archive", "--format=tar", commit, "--", REPORTS)
    if packed.returncode:
        raise UserError(f"{revision}: that revision holds no {REPORTS}/ (below this folder)")
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(folder, filter="data")


def _git(*words: str) -> subprocess.CompletedProcess:
    try:
        return subprocess.run(("git", *words), capture_output=True, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        raise UserError("git: not installed; give two folders instead") from None
