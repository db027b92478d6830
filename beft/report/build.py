"""Make the tables, figures and page of reports/ from the csv files beside them."""

import logging
import os
from collections.abc import Collection, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from beft.errors import UserError
from beft.report import metrics_json
from beft.report.analysis import cells
from beft.report.frames.columns import COLUMNS
from beft.report.frames.schema import Frames
from beft.report.tables.formats import write_table
from beft.report.tables.registry import TABLES, by_epoch, made
from beft.store.files import CHECKSUMS, to_json, write_file
from beft.study.identity import sha256
from beft.study.studies import FIGURES

log = logging.getLogger(__name__)

SETTINGS_COMPARED = ("extension",)
_HELD: list[Frames] = []  # in a process that draws: what it draws from


def build(reports: Path) -> None:
    """Read the frames in a reports folder and write its tables, figures, metrics and page."""
    from beft.report.frames import schema

    read = schema.read(reports)
    write_tables(read, reports)
    write_figures(read, reports)
    write_page(read, reports)


def seen(name: str, frames: Frames) -> Frames:
    """Select the runs of a table or figure: `cells.shown`, unless it compares settings."""
    frames = cells.scoped(frames, name)
    return frames if name in SETTINGS_COMPARED else cells.shown(frames)


def write_tables(frames: Frames, reports: Path) -> list[Path]:
    """Write the study's tables to reports/tables and reports/metrics.json; return their paths."""
    paths = []
    _drop_others(reports / "tables", wanted(frames, "tables", TABLES))
    for name in wanted(frames, "tables", TABLES):
        paths += write_table(made(name, seen(name, frames)), reports / "tables")
    metrics = metrics_json.dump(metrics_json.metrics_json(frames))
    write_file(reports / "metrics.json", metrics.encode())
    return [*paths, reports / "metrics.json"]


def write_figures(frames: Frames, reports: Path) -> list[Path]:
    """Draw the study's figures into reports/figures, each in its own process; return their paths.

    Drawing takes most of a report's time.
    """
    paths, folder = [], reports / "figures"
    names = wanted(frames, "figures", FIGURES)
    _drop_others(folder, names)
    workers = min(len(names), os.cpu_count() or 1) or 1
    # Forked processes share the frames; as arguments of each call they would be copied.
    with ProcessPoolExecutor(workers, initializer=_HELD.append, initargs=(frames,)) as pool:
        drawn = pool.map(partial(_draw, folder), names)
        for name, files in zip(names, drawn, strict=True):
            paths += files
            log.info("drew %s", name)
    return paths


def _draw(folder: Path, name: str) -> list[Path]:
    from beft.report.figures.registry import write_figure

    return write_figure(name, seen(name, _HELD[-1]), folder)


def write_page(frames: Frames, reports: Path) -> Path:
    """Write reports/index.html from the frames and the figures that are already drawn."""
    names = wanted(frames, "tables", TABLES)
    if "table1" in names and "table1_last" in names:
        names.remove("table1_last")  # the page shows it within table 1
    tables = {name: by_epoch(name, seen(name, frames)) for name in names}
    from beft.report.page import render  # with matplotlib, which tables do not need

    path = reports / "index.html"
    write_file(path, render.render(frames, tables, reports / "figures").encode())
    seal(frames, reports)
    log.info("wrote %s", path)
    return path


def seal(frames: Frames, reports: Path) -> None:
    """Write the SHA-256 of every file of the reports to reports/checksums.json, as for a run."""
    names = files_of(wanted(frames, "tables", TABLES), wanted(frames, "figures", FIGURES))
    there = [name for name in names if (reports / name).is_file()]
    write_file(reports / CHECKSUMS, to_json({name: sha256(reports / name) for name in there}))


def files_of(tables: Sequence[str], figures: Sequence[str]) -> list[str]:
    """List every file of reports with these tables and figures, except checksums.json."""
    return [
        *(f"{name}.csv" for name in COLUMNS),
        *("settings.json", "metrics.json", "index.html"),
        *(f"figures/{name}.{suffix}" for name in figures for suffix in ("svg", "png", "pdf")),
        *(f"tables/{name}.{suffix}" for name in tables for suffix in ("csv", "md", "tex")),
    ]


def _drop_others(folder: Path, names: list[str]) -> None:
    """Delete files of an earlier study, which would pass for those of this one."""
    for path in folder.glob("[!.]*.*"):  # files that are being written begin with a dot
        if path.stem not in names and path.is_file():
            path.unlink()


def wanted(frames: Frames, key: str, known: Collection[str]) -> list[str]:
    """Read the names that the study lists under `tables` or `figures`; without a list, all.

    Raises:
        UserError: a name that does not exist.
    """
    names = list(frames.settings.get(key, known))
    for name in names:
        if name not in known:
            raise UserError(f"study: {key}: unknown name {name!r}; known: {', '.join(known)}")
    return names
