"""`beft verify`: recompute what every file must be, and say loudly where it is something else."""

from pathlib import Path

from beft import numerics
from beft.errors import UserError
from beft.hashing import sha256
from beft.project import Project
from beft.recipe import Recipe
from beft.store import CHECKSUMS, Layout, flaw, read_json, run_flaw


def problems(project: Project) -> list[str]:
    """Everything that is wrong with a study's data and reports, one line each; none is good."""
    found = _code_problems()
    skipped: set[str] = set()
    for key, pack in project.packs.items():
        path = project.layout.data / "packs" / key
        found += _manifest_problems(project.layout, path, pack.recipes, skipped)
    for recipe in project.recipes:
        if recipe.digest not in skipped:
            found += _run_problems(project.layout, recipe)
    if not found:
        found += _score_problems(project)
    if not found:
        found += _report_problems(project)
    return found


def _code_problems() -> list[str]:
    if numerics.code_digest() in numerics.accepted():
        return []
    return [
        f"{numerics.PACKAGE}: the code that decides numbers was edited (digest "
        f"{numerics.code_digest()}); raise RECIPE_VERSION in beft/recipe.py to train anew, or "
        "declare equal results with 'beft verify --accept-code'"
    ]


def _manifest_problems(
    layout: Layout, path: Path, recipes: tuple[Recipe, ...], skipped: set[str]
) -> list[str]:
    try:
        entries = {e["digest"]: e for e in read_json(path)["runs"]}
    except UserError as error:
        return [str(error)]
    if set(entries) != {r.digest for r in recipes}:
        return [f"{path}: does not cover the runs that its name says"]
    lines = []
    for recipe in recipes:
        entry = entries[recipe.digest]
        if entry["status"] == "skipped":
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
    if flaw(layout.source(recipe)) is None:
        sums = read_json(layout.source(recipe) / CHECKSUMS)
        if sums != recorded["inputs"]["source"]:
            lines.append(f"{folder}: trained on other data than {layout.source(recipe)} holds")
    else:
        lines.append(f"{layout.source(recipe)}: {flaw(layout.source(recipe))}")
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
    from beft.report import frames

    return [
        f"{project.root / 'reports' / name}: not what the runs say; run 'beft report'"
        for name, content in frames.render(frames.collect(project)).items()
        if _content(project.root / "reports" / name) != content
    ]


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def repair_packs(project: Project) -> int:
    """Removes manifests (and scores) that no longer tell the truth, so that they are made again.

    Sound runs stay and are not trained again; damaged ones are set aside by the pack job.

    Returns:
        The number of packs concerned.
    """
    count = 0
    for key, pack in project.packs.items():
        path = project.layout.data / "packs" / key
        skipped: set[str] = set()
        wrong = _manifest_problems(project.layout, path, pack.recipes, skipped)
        lost = [
            r
            for r in pack.recipes
            if r.digest not in skipped and run_flaw(project.layout, r) is not None
        ]
        if wrong or lost:
            path.unlink(missing_ok=True)
            count += 1
    for key, cell in project.cells.items():
        from beft.scores import render_scores

        path = project.layout.data / "scores" / key
        if path.is_file() and path.read_bytes() != render_scores(project.layout, cell):
            path.unlink()
    return count
