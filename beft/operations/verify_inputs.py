"""`beft verify`: datasets, subsets, models and the mirror are as they were fetched."""

from collections.abc import Iterator

from beft.data.mirror.lookup import MANIFEST, altered
from beft.data.mirror.origins import changed_origin
from beft.data.subsets import read_subset
from beft.data.tables import read_table
from beft.errors import UserError, one_line
from beft.operations.problem import Problem
from beft.store.files import all_flaws, read_json
from beft.store.inputs import SOURCE, broken_promise, marker_flaw
from beft.study.identity import sha256
from beft.study.project import Project


def sources(project: Project) -> Iterator[Problem]:
    """Checks datasets against checksums, names and origin, and subsets against rows drawn again."""
    broken = set()
    for key, task in project.sources().items():
        folder = project.layout.folder("sources") / key
        flaws = all_flaws(folder)
        for problem in flaws or filter(None, [broken_promise(folder)]):
            broken.add(key)
            line = f"{folder}: {problem}; run 'beft fetch --task {task}'"
            yield Problem(line, (folder / SOURCE,))
        given = project.params.tasks[task]
        if changed := changed_origin(project.root, task, given, folder, sha256):
            yield Problem(changed)
    for recipe in project.subsets.values():
        source, subset = project.layout.source(recipe), project.layout.subset(recipe)
        try:
            if recipe.source_path() not in broken:
                read_subset(source, recipe, subset)
            elif subset.is_file():  # its rows can be checked when the source is sound
                read_table(subset)
        except UserError as error:
            yield Problem(str(error), (subset,))


def models(project: Project) -> Iterator[Problem]:
    """Checks weights against the checksums that were noted when they were fetched.

    Absent weights are no problem: results can be read without them.
    """
    for recipe in {r.model_path(): r for r in project.recipes}.values():
        marker = project.layout.model(recipe)
        if not marker.is_file():
            continue
        try:
            if problem := marker_flaw(marker, recipe.model):
                yield Problem(f"{marker}: {problem}", (marker,))
                continue
            alias = recipe.model["alias"]
            noted, expected = read_json(marker).get("path"), project.params.models[alias].path
            if noted != expected:
                file = project.params.file("models", alias)
                line = f"says that the model is in {one_line(noted)}, {file} in {expected}"
                yield Problem(f"{marker}: {line}; run 'beft fetch --model {alias}'", (marker,))
                continue
            if changed := altered(project.root, marker):
                line = f"{changed}: not what was fetched (sha256 differs from {marker})"
                # The user has to restore files outside of data/mirror.
                fetched = changed.is_relative_to(project.layout.mirror)
                yield Problem(line, (changed.parent, marker) if fetched else ())
        except (UserError, KeyError, TypeError, AttributeError) as error:
            line = str(error) if isinstance(error, UserError) else f"{marker}: damaged"
            yield Problem(line, (marker,))


def mirror(project: Project) -> Iterator[Problem]:
    """Checks the files of data/mirror against its manifest."""
    folder = project.layout.mirror
    manifest = folder / MANIFEST
    if not manifest.is_file():
        return
    try:
        sums = {
            folder / piece / name: expected
            for piece, entry in read_json(manifest).items()
            for name, expected in entry["sha256"].items()
        }
    except (UserError, KeyError, TypeError, AttributeError):
        yield Problem(f"{manifest}: damaged", (manifest,))
        return
    for path, expected in sums.items():
        if path.is_file() and sha256(path) != expected:
            line = f"{path}: not the file that was fetched (sha256 differs from {manifest})"
            yield Problem(line, (path.parent,))
