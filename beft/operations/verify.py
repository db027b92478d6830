"""`beft verify`: recompute what every file must be, and name the files that differ."""

from collections.abc import Iterator
from pathlib import Path

from beft import code_identity
from beft.adapters.merge_results import merge_flaw
from beft.data.tables import split_checksums
from beft.errors import UserError
from beft.operations import verify_inputs, verify_reports
from beft.operations.problem import Problem, to_redo
from beft.selectors.score_files import render_cell
from beft.store import accepted_code
from beft.store.files import CHECKSUMS, read_json
from beft.store.manifest import read_manifest
from beft.store.measurement_files import timing_flaw
from beft.store.run_folder import open_run
from beft.study.layout import Layout
from beft.study.project import Project
from beft.study.recipe import RECIPE_VERSION, Pack, Recipe

UNCHECKED = "cannot be checked, since runs it is from are unsound"


def problems(project: Project) -> list[Problem]:
    """Everything that is wrong with a study's data and reports; empty if all is well.

    Scores are computed again from sound runs. Reports are computed again only if nothing else is
    wrong; otherwise their checksums tell which files are damaged.
    """
    inputs = [*verify_inputs.sources(project), *verify_inputs.models(project)]
    broken = set(to_redo(inputs))
    found = [*_code(), *verify_inputs.mirror(project), *inputs]
    skipped: set[str] = set()
    for pack in project.packs.values():
        found += _manifest(project.layout, pack, skipped)
    unsound: set[str] = set()
    for recipe in project.recipes:
        if recipe.digest not in skipped and (wrong := list(_run(project, recipe, broken))):
            unsound.add(recipe.digest)
            found += wrong
    found += _scores(project, unsound)
    found += _measured(project, unsound)
    sealed = list(verify_reports.sealed(project))
    if not found:
        found += verify_reports.reports(project, to_redo(sealed))
    return found + [problem for problem in sealed if set(to_redo(found)).isdisjoint(problem.redo)]


def _code() -> Iterator[Problem]:
    """Checks that this code is declared to give the numbers of the recipe version."""
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


def _manifest(layout: Layout, pack: Pack, skipped: set[str]) -> Iterator[Problem]:
    """Checks that a manifest lists its pack's runs as they are; adds to `skipped`."""
    path = layout.pack(pack.manifest())
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
            yield Problem(f"{run.folder}: not the run that {path.name} was written for", (path,))


def _run(project: Project, recipe: Recipe, broken: set[Path]) -> Iterator[Problem]:
    """Checks a run's files, and that it used this code, these data and these weights."""
    layout, run = project.layout, open_run(project.layout, recipe)
    folder, manifest = run.folder, layout.pack(project.pack_of(recipe))
    if flaws := run.flaws():
        for problem in flaws:
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
    if marker.is_file() and marker not in broken and read_json(marker)["sha256"] != inputs["model"]:
        yield Problem(f"{folder}: trained on other weights than {marker} names")


def _unknown(code: str | None) -> str:
    return (
        f"code {code}, which is not known to give the numbers of recipe version "
        f"{RECIPE_VERSION}; see beft/code_identity.py"
    )


def _scores(project: Project, unsound: set[str]) -> Iterator[Problem]:
    """Checks that each file of scores is what its runs give."""
    layout = project.layout
    for cell in project.cells.values():
        cannot = not unsound.isdisjoint(r.digest for r in cell.runs)
        expected = {} if cannot else render_cell(layout, cell)
        for key in cell.files():
            path = layout.scores(key)
            if not path.is_file():
                yield Problem(f"{path}: missing", (path,))
            elif cannot:
                yield Problem(f"{path}: {UNCHECKED}", (path,))
            elif path.read_bytes() != expected[key]:
                yield Problem(f"{path}: not what its runs' snapshots give", (path,))


def _measured(project: Project, unsound: set[str]) -> Iterator[Problem]:
    """Checks files of seconds and of merged biases against the runs that they name.

    Metrics of merged biases are not computed again, so the code that measured them is checked.
    """
    for key, timed in project.timings.items():
        path = project.layout.timing(key)
        if problem := timing_flaw(path, timed):
            yield Problem(f"{path}: {problem}", (path,))
    for key, merged in project.merges.items():
        path = project.layout.merge(key)
        if not unsound.isdisjoint(r.digest for r in merged.recipes()):
            yield Problem(f"{path}: {UNCHECKED}", (path,))
        elif problem := merge_flaw(project, path, merged):
            yield Problem(f"{path}: {problem}", (path,))
        elif (code := read_json(path).get("code")) not in accepted_code.accepted():
            yield Problem(f"{path}: measured by {_unknown(code)}", (path,))
