"""What is left to do of a pack: its runs that `beft verify` would not accept."""

from dataclasses import dataclass, field

from beft.store import accepted_code
from beft.store.inputs import Inputs
from beft.store.precision import Computed, computed
from beft.store.run_folder import Run, open_run
from beft.study.layout import Layout
from beft.study.recipe import Pack, Recipe


@dataclass(frozen=True)
class Left:
    """The runs of a pack that do not count, and what is known of the others."""

    runs: list[Recipe] = field(default_factory=list)  # all of them
    refused: dict[str, str] = field(default_factory=dict)  # folder -> why it does not count
    computed: list[Computed] = field(default_factory=list)  # the precision of those that do


def left_of(layout: Layout, pack: Pack, inputs: Inputs | None = None) -> Left:
    """The runs of a pack that are missing, damaged, or of other data, weights or code.

    Files of more than some kilobytes are not read, so damage to them goes unnoticed here.
    `inputs` are as in `open_run`.
    """
    found, manifest, accepted = Left(), layout.pack(pack.manifest()), accepted_code.accepted()
    for recipe in pack.recipes:
        run = open_run(layout, recipe, manifest, quick=True, inputs=inputs)
        if run.status == "skipped" and pack.may_skip(recipe):
            continue
        if problem := _problem(run, accepted):
            found.runs.append(recipe)
            if run.is_written or manifest.is_file():
                found.refused[str(run.folder)] = problem
        elif run.status == "ok":
            found.computed.append(computed(run))
    return found


def _problem(run: Run, accepted: list[str]) -> str | None:
    if run.unsound:
        return run.reason
    code = run.provenance["code"]
    return None if code in accepted else f"trained by code {code}, which is not accepted"
