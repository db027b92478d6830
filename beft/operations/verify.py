"""`beft verify`: recompute what every file must be, and say loudly where it is something else."""

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beft import code_identity
from beft.data.mirror.lookup import MANIFEST, altered
from beft.data.subsets import read_subset
from beft.data.tables import read_table, split_checksums
from beft.errors import UserError
from beft.report.stamp import stamp_flaw
from beft.store import accepted_code
from beft.store.files import (
    CHECKSUMS,
    all_flaws,
    flaws,
    read_json,
)
from beft.store.manifest import read_manifest
from beft.store.run_folder import open_run
from beft.study.identity import sha256
from beft.study.layout import Layout
from beft.study.project import Project
from beft.study.recipe import RECIPE_VERSION, Pack, Recipe


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        line: what, in words that begin with the file or folder.
        redo: what has to go so that the next snakemake makes it again: files, or a folder of the
            mirror; nothing where that would not help.
    """

    line: str
    redo: tuple[Path, ...] = ()


def problems(project: Project) -> list[Problem]:
    """Everything that is wrong with a study's data and reports; none is good.

    Scores and reports are recomputed from runs that are sound; of the others' reports, checksums
    tell which are damaged.
    """
    inputs = [*_sources(project), *_models(project)]
    broken = _named(inputs)
    found = [*_code(), *_mirror(project), *inputs]
    skipped: set[str] = set()
    for key, pack in project.packs.items():
        found += _manifest(project.layout, project.layout.pack(key), pack, skipped)
    unsound: set[str] = set()
    for recipe in project.recipes:
        if recipe.digest not in skipped and (own := list(_run(project, recipe, broken))):
            unsound.add(recipe.digest)
            found += own
    found += _scores(project, unsound)
    found += _measured(project, unsound)
    sealed = list(_sealed(project))
    if not found:
        found += _reports(project, sealed)
    return found + [problem for problem in sealed if _named(found).isdisjoint(problem.redo)]


def _named(found: list[Problem]) -> set[Path]:
    return {path for problem in found for path in problem.redo}


def _code() -> Iterator[Problem]:
    digest, version = code_identity.code_digest(), RECIPE_VERSION
    known = accepted_code.accepted()
    if not known:
        yield Problem(
            f"{accepted_code.LEDGER}: no code is declared for recipe version {version}; "
            "declare this one with 'beft verify --accept-code'"
        )
    elif digest not in known:
        yield Problem(
            f"{code_identity.PACKAGE}: the code that decides numbers was edited (digest {digest}); "
            "raise RECIPE_VERSION in beft/study/recipe.py to train anew, or declare equal results "
            "with 'beft verify --accept-code'"
        )


def _sources(project: Project) -> Iterator[Problem]:
    """Datasets that are not what was fetched, and subsets that hold other rows than they must."""
    broken = set()
    for key in project.sources():
        folder = project.layout.folder("sources") / key
        for problem in all_flaws(folder):
            broken.add(key)
            yield Problem(f"{folder}: {problem}", (folder / "source.json",))
    for recipe in project.subsets.values():
        source, subset = project.layout.source(recipe), project.layout.subset(recipe)
        try:
            if recipe.source_path() not in broken:
                read_subset(source, recipe, subset)
            elif subset.is_file():  # whether its rows are the right ones shows when the source is
                read_table(subset)
        except UserError as error:
            yield Problem(str(error), (subset,))


def _models(project: Project) -> Iterator[Problem]:
    """Markers that say nothing, and weights that are not what was fetched.

    Who only reads results has no weights, and needs none.
    """
    for key in project.models():
        marker = project.layout.folder("models") / key
        if not marker.is_file():
            continue
        try:
            if changed := altered(project.root, marker):
                line = f"{changed}: not what was fetched (sha256 differs from {marker})"
                own = changed.is_relative_to(project.layout.mirror)
                # A copy that is not ours is for its owner to restore.
                yield Problem(line, (changed.parent, marker) if own else ())
        except (UserError, KeyError, TypeError, AttributeError) as error:
            line = str(error) if isinstance(error, UserError) else f"{marker}: damaged"
            yield Problem(line, (marker,))


def _mirror(project: Project) -> Iterator[Problem]:
    """Files of data/mirror that are not what its manifest says was fetched."""
    mirror = project.layout.mirror
    manifest = mirror / MANIFEST
    if not manifest.is_file():
        return
    try:
        sums = {
            mirror / place / name: expected
            for place, entry in read_json(manifest).items()
            for name, expected in entry["sha256"].items()
        }
    except (UserError, KeyError, TypeError, AttributeError):
        yield Problem(f"{manifest}: damaged", (manifest,))
        return
    for path, expected in sums.items():
        if path.is_file() and sha256(path) != expected:
            line = f"{path}: not the file that was fetched (sha256 differs from {manifest})"
            yield Problem(line, (path.parent,))


def _manifest(layout: Layout, path: Path, pack: Pack, skipped: set[str]) -> Iterator[Problem]:
    try:
        entries = read_manifest(path)
    except UserError as error:
        yield Problem(str(error), (path,))
        return
    if set(entries) != {r.digest for r in pack.recipes}:
        yield Problem(f"{path}: does not cover the runs that its name says", (path,))
        return
    for recipe in pack.recipes:
        entry = entries[recipe.digest]
        if entry["status"] == "skipped" and pack.may_skip(recipe):
            skipped.add(recipe.digest)
            continue
        run = open_run(layout, recipe)
        if run.is_written and run.checksum != entry["checksums"]:
            line = f"{run.folder}: not the run that {path.name} was written for"
            yield Problem(line, (path,))


def _run(project: Project, recipe: Recipe, broken: set[Path]) -> Iterator[Problem]:
    layout, run = project.layout, open_run(project.layout, recipe)
    folder, manifest = run.folder, layout.pack(project.pack_of(recipe))
    if problems := run.flaws():
        for problem in problems:
            yield Problem(f"{folder}: {problem}", (manifest,))
        return
    recorded = run.provenance
    if recorded["code"] not in accepted_code.accepted():
        yield Problem(f"{folder}: trained by {_unknown(recorded['code'])}")
    source, marker = layout.source(recipe), layout.model(recipe)
    inputs = recorded["inputs"]
    whole = (source / CHECKSUMS).is_file() and source / "source.json" not in broken
    if whole and split_checksums(source) != inputs["source"]:
        yield Problem(f"{folder}: trained on other data than {source} holds")
    if marker.is_file() and marker not in broken and _sums(marker) != inputs["model"]:
        yield Problem(f"{folder}: trained on other weights than {marker} names")


def _unknown(code: str | None) -> str:
    return (
        f"code {code}, which is not known to give the numbers of recipe version "
        f"{RECIPE_VERSION}; see beft/code_identity.py"
    )


def _sums(marker: Path) -> Any:
    return read_json(marker)["sha256"]


def _scores(project: Project, unsound: set[str]) -> Iterator[Problem]:
    from beft.selectors.score_files import render_cell

    layout = project.layout
    for cell in project.cells.values():
        cannot = not unsound.isdisjoint(r.digest for r in cell.runs)
        expected = {} if cannot else render_cell(layout, cell)
        for key in cell.files():
            path = layout.scores(key)
            if not path.is_file():
                yield Problem(f"{path}: missing", (path,))
            elif cannot:
                line = f"{path}: cannot be checked, since runs it is from are unsound"
                yield Problem(line, (path,))
            elif path.read_bytes() != expected[key]:
                yield Problem(f"{path}: not what its runs' snapshots give", (path,))


def _measured(project: Project, unsound: set[str]) -> Iterator[Problem]:
    """Seconds and merged biases that are missing, or not of their runs as they are.

    What a merge scores is known from its file alone, so that the code which measured it counts.
    """
    from beft.adapters.merge_results import merge_flaw
    from beft.store.measurement_files import timing_flaw

    for key, timed in project.timings.items():
        path = project.layout.timing(key)
        if problem := timing_flaw(path, timed):
            yield Problem(f"{path}: {problem}", (path,))
    for key, merged in project.merges.items():
        path = project.layout.merge(key)
        if not unsound.isdisjoint(r.digest for r in merged.recipes()):
            yield Problem(f"{path}: cannot be checked, since runs it is from are unsound", (path,))
        elif problem := merge_flaw(project, path, merged):
            yield Problem(f"{path}: {problem}", (path,))
        elif (code := read_json(path).get("code")) not in accepted_code.accepted():
            yield Problem(f"{path}: measured by {_unknown(code)}", (path,))


def _sealed(project: Project) -> Iterator[Problem]:
    """Files of the reports that are not as they were written."""
    reports = project.root / "reports"
    for name, problem in flaws(reports):
        line = f"{reports / name}: {problem.removeprefix(f'{name} ')}; run 'beft report'"
        unknown = _files(project) if name == CHECKSUMS else ()  # nothing tells which are sound
        yield Problem(line, (reports / name, *(reports / file for file in unknown)))
    if stamp := stamp_flaw(project):
        yield Problem(f"{stamp}: damaged", (stamp,))


def _files(project: Project) -> list[str]:
    from beft.report.build import files_of

    return files_of(project.study.tables, project.study.figures)


def _reports(project: Project, sealed: list[Problem]) -> Iterator[Problem]:
    """Frames, tables, metrics.json and the page, where they are not what the runs give.

    Figures are what was drawn last: how they come out depends on fonts and versions, too. The page
    shows them, and is compared when they are as they were drawn.
    """
    from beft.report.build import write_page, write_tables
    from beft.report.frames import schema
    from beft.report.frames.collect import collect

    reports = project.root / "reports"
    figures = reports / "figures"
    with tempfile.TemporaryDirectory() as name:
        expected = Path(name)
        schema.write(collect(project), expected)
        read = schema.read(expected)
        write_tables(read, expected)
        if figures.is_dir() and all(figures not in path.parents for path in _named(sealed)):
            shutil.copytree(figures, expected / "figures")
            write_page(read, expected)
        for file in _files(project):
            path = reports / file
            if not path.is_file() or (
                (expected / file).is_file() and path.read_bytes() != (expected / file).read_bytes()
            ):
                yield Problem(f"{path}: not what the runs say; run 'beft report'", (path,))
