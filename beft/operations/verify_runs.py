"""`beft verify`: run folders are whole, and of this code, these data and these weights."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from beft import code_identity
from beft.errors import UserError
from beft.operations.problem import Problem
from beft.operations.verify_metrics import Answers, metrics_flaw
from beft.store import accepted_code
from beft.store.files import in_the_way
from beft.store.inputs import SOURCE
from beft.store.manifest import read_manifest
from beft.store.precision import Computed, computed
from beft.store.run_folder import Run
from beft.study.layout import Layout
from beft.study.project import Project
from beft.study.recipe import RECIPE_VERSION, Pack


def code() -> Iterator[Problem]:
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


def unknown(code: str | None) -> str:
    """Says that code is not among the accepted."""
    return (
        f"code {code}, which is not known to give the numbers of recipe version "
        f"{RECIPE_VERSION}; see beft/code_identity.py"
    )


def manifest(
    layout: Layout, pack: Pack, runs: Mapping[str, Run], skipped: set[str]
) -> Iterator[Problem]:
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
        run = runs[recipe.digest]
        if run.is_written and run.checksum != entry["checksums"]:
            # A manifest that gives no checksum, or that another one contradicts, is itself wrong.
            stale = entry["checksums"] is None or _listed_elsewhere(run, path)
            line = f"{run.folder}: not the run that {path.name} was written for"
            yield Problem(line, (path,) if stale else (run.folder, path))


def _listed_elsewhere(run: Run, manifest: Path) -> bool:
    """Whether the manifest of another pack was written for a run as it is now."""
    for other in manifest.parent.glob("*.json"):
        with suppress(UserError):  # a manifest that cannot be read says nothing
            entry = read_manifest(other).get(run.recipe.digest)
            if entry and entry["checksums"] == run.checksum:
                return True
    return False


@dataclass(frozen=True)
class Check:
    """Checks the runs of a project one by one."""

    project: Project
    broken: set[Path]  # files of inputs that are damaged, with which nothing is compared
    computed: list[Computed] = field(default_factory=list)  # the precision of whole runs

    @cached_property
    def accepted(self) -> list[str]:
        return accepted_code.accepted()

    @cached_property
    def answers(self) -> Answers:
        return Answers(self.project.layout)

    def run(self, run: Run) -> Iterator[Problem]:
        """Checks a run's files, and that it used accepted code, these data and these weights."""
        folder, manifest = run.folder, self.project.layout.pack(self.project.pack_of(run.recipe))
        if blocked := in_the_way(folder):
            line = f"{blocked}: a file lies where a run's folder belongs; remove it"
            yield Problem(line, (manifest,))
            return
        if flaws := run.flaws():
            for flaw in flaws:
                yield Problem(f"{folder}: {flaw}", (manifest,))
            return
        if (code := run.provenance["code"]) not in self.accepted:
            # Edited code cannot tell which of the two gives the right numbers.
            edited = code_identity.code_digest() not in self.accepted
            line = f"{folder}: trained by {unknown(code)}"
            yield Problem(line, () if edited else (folder, manifest))
        if run.foreign:
            yield Problem(f"{folder}: {run.foreign}", (folder, manifest))
        elif problem := self._metrics(run):
            yield Problem(f"{folder}: {problem}", (folder, manifest))
        elif run.metrics["status"] == "ok":
            self.computed.append(computed(run))

    def _metrics(self, run: Run) -> str | None:
        """What is wrong with a run's metrics; None without the labels that they depend on."""
        if not run.source.is_dir() or run.source / SOURCE in self.broken:
            return None
        return metrics_flaw(run, self.answers)
