"""`beft verify`: recompute what every file must be, and say loudly where it is something else."""

import tempfile
from pathlib import Path

from beft import numerics
from beft.data import split_checksums
from beft.errors import UserError
from beft.hashing import sha256
from beft.mirror import altered
from beft.project import Project
from beft.recipe import Pack, Recipe
from beft.store import CHECKSUMS, Layout, flaw, read_json, read_manifest, run_flaw


def problems(project: Project) -> list[str]:
    """Everything that is wrong with a study's data and reports, one line each; none is good."""
    found = _code_problems() + _source_problems(project) + _model_problems(project)
    skipped: set[str] = set()
    for key, pack in project.packs.items():
        path = project.layout.data / "packs" / key
        found += _manifest_problems(project.layout, path, pack, skipped)
    for recipe in project.recipes:
        if recipe.digest not in skipped:
            found += _run_problems(project.layout, recipe)
    if not found:
        found += _score_problems(project)
    if not found:
        found += _report_problems(project)
    return found


def _code_problems() -> list[str]:
    digest, version = numerics.code_digest(), numerics.RECIPE_VERSION
    known = numerics.accepted()
    if digest in known:
        return []
    if not known:
        return [
            f"{numerics.LEDGER}: no code is declared for recipe version {version}; "
            "declare this one with 'beft verify --accept-code'"
        ]
    return [
        f"{numerics.PACKAGE}: the code that decides numbers was edited (digest {digest}); raise "
        "RECIPE_VERSION in beft/recipe.py to train anew, or declare equal results with "
        "'beft verify --accept-code'"
    ]


def _source_problems(project: Project) -> list[str]:
    """Datasets that are not what was fetched, and subsets that hold other rows than they must."""
    from beft.data import read_subset

    lines, broken = [], set()
    for key in project.sources():
        folder = project.layout.data / "sources" / key
        if problem := flaw(folder):
            broken.add(key)
            lines.append(f"{folder}: {problem}")
    for recipe in project.subsets.values():
        if recipe.source_path() not in broken:
            try:
                read_subset(project.layout.source(recipe), recipe, project.layout.subset(recipe))
            except UserError as error:
                lines.append(str(error))
    return lines


def _model_problems(project: Project) -> list[str]:
    markers = [project.layout.data / "models" / key for key in project.models()]
    lines = []
    for marker in markers:
        try:
            # Who only reads results has no weights, and needs none.
            changed = altered(project.root, marker) if marker.is_file() else None
        except UserError as error:
            lines.append(str(error))
            continue
        if changed:
            lines.append(f"{changed}: not what was fetched (sha256 differs from {marker})")
    return lines


def _manifest_problems(layout: Layout, path: Path, pack: Pack, skipped: set[str]) -> list[str]:
    try:
        entries = read_manifest(path)
    except UserError as error:
        return [str(error)]
    if set(entries) != {r.digest for r in pack.recipes}:
        return [f"{path}: does not cover the runs that its name says"]
    lines = []
    for recipe in pack.recipes:
        entry = entries[recipe.digest]
        if entry["status"] == "skipped" and pack.may_skip(recipe):
            skipped.add(recipe.digest)
            continue
        checksums = layout.run(recipe) / CHECKSUMS
        if checksums.is_file() and sha256(checksums) != entry["checksums"]:
            lines.append(f"{layout.run(recipe)}: not the run that {path.name} was written for")
    return lines


def _run_problems(layout: Layout, recipe: Recipe) -> list[str]:
    folder = layout.run(recipe)
    problem = run_flaw(layout, recipe)
    if problem is not None:
        return [f"{folder}: {problem}"]
    recorded = read_json(folder / "provenance.json")
    lines = []
    if recorded["code"] not in numerics.accepted():
        lines.append(
            f"{folder}: trained by code {recorded['code']}, which is not known to give the numbers "
            f"of recipe version {numerics.RECIPE_VERSION}; see beft/numerics.py"
        )
    sums = layout.source(recipe) / CHECKSUMS
    if sums.is_file() and split_checksums(layout.source(recipe)) != recorded["inputs"]["source"]:
        lines.append(f"{folder}: trained on other data than {layout.source(recipe)} holds")
    marker = layout.model(recipe)
    if marker.is_file() and read_json(marker)["sha256"] != recorded["inputs"]["model"]:
        lines.append(f"{folder}: trained on other weights than {marker} names")
    return lines


def _score_problems(project: Project) -> list[str]:
    from beft.scores import render_scores

    lines = []
    for key, cell in project.cells.items():
        path = project.layout.data / "scores" / key
        if not path.is_file():
            lines.append(f"{path}: missing")
        elif path.read_bytes() != render_scores(project.layout, cell):
            lines.append(f"{path}: not what its runs' snapshots give")
    return lines


def _report_problems(project: Project) -> list[str]:
    """Frames, tables and metrics.json that are not what the runs give; figures show the same."""
    from beft.report import frames
    from beft.report.build import write_tables

    collected = frames.collect(project)
    with tempfile.TemporaryDirectory() as name:
        expected = Path(name)
        frames.write(collected, expected)
        write_tables(frames.read(expected), expected)
        files = sorted(p.relative_to(expected) for p in expected.rglob("*") if p.is_file())
        reports = project.root / "reports"
        return [
            f"{reports / file}: not what the runs say; run 'beft report'"
            for file in files
            if _content(reports / file) != (expected / file).read_bytes()
        ]


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def repair(project: Project) -> int:
    """Removes what no longer tells the truth, so that the next snakemake makes it again.

    Sound runs stay and are not trained again; damaged ones are set aside by the pack job.

    Returns:
        The number of packs concerned.
    """
    from beft.data import read_subset
    from beft.scores import render_scores

    layout = project.layout
    for recipe in project.subsets.values():
        source, subset = layout.source(recipe), layout.subset(recipe)
        if flaw(source):
            (source / "source.json").unlink(missing_ok=True)
            continue
        try:
            read_subset(source, recipe, subset)
        except UserError:
            subset.unlink(missing_ok=True)
    packs = [key for key, pack in project.packs.items() if _lost(layout, key, pack)]
    for key in packs:
        (layout.data / "packs" / key).unlink(missing_ok=True)
    for key, cell in project.cells.items():
        path = layout.data / "scores" / key
        if path.is_file() and path.read_bytes() != render_scores(layout, cell):
            path.unlink()
    for stamp in (layout.data / "collected").glob("*"):
        stamp.unlink()  # reports are gathered anew
    return len(packs)


def _lost(layout: Layout, key: str, pack: Pack) -> bool:
    """Whether a pack's manifest, or a run that it should cover, is not sound."""
    skipped: set[str] = set()
    if _manifest_problems(layout, layout.data / "packs" / key, pack, skipped):
        return True
    return any(r.digest not in skipped and run_flaw(layout, r) for r in pack.recipes)
