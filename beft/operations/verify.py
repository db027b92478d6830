"""`beft verify`: recompute what every file must be, and name the files that differ."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from beft.adapters.merge_results import merge_flaw
from beft.operations import verify_inputs, verify_reports, verify_runs
from beft.operations.problem import Problem, to_redo
from beft.report.frames.collect import Facts, facts_of, listed
from beft.report.frames.guessing import Guesses
from beft.selectors.score_files import render_cell
from beft.store import accepted_code
from beft.store.files import read_json
from beft.store.inputs import Inputs
from beft.store.measurement_files import timing_flaw
from beft.store.precision import remarks
from beft.store.run_folder import Run
from beft.study.cell import Cell
from beft.study.project import Project
from beft.study.recipe import Recipe

UNCHECKED = "cannot be checked, since runs it is from are unsound"


def problems(project: Project) -> list[Problem]:
    """Everything that is wrong with a study's data and reports, and remarks on its runs.

    Scores are computed again from sound runs. Reports are computed again only if nothing else is
    wrong; otherwise their checksums tell which files are damaged.
    """
    inputs = [*verify_inputs.sources(project), *verify_inputs.models(project)]
    found = [*verify_runs.code(), *verify_inputs.mirror(project), *inputs]
    check = verify_runs.Check(project, set(to_redo(inputs)))
    seen = _Seen(project, check, is_well=not found)
    for recipes in project.by_cell().values():
        seen.look(recipes)
    found += [problem for path in project.packs for problem in seen.manifests[path]]
    found += [problem for recipe in project.recipes for problem in seen.wrong[recipe.digest]]
    found += seen.scores
    found += _measured(project, {digest for digest, wrong in seen.wrong.items() if wrong})
    sealed = list(verify_reports.sealed(project))
    if not found:
        found += verify_reports.reports(project, seen.facts, to_redo(sealed))
    found += [problem for problem in sealed if set(to_redo(found)).isdisjoint(problem.redo)]
    return found + [Problem(line, wrong=False) for line in remarks(check.computed)]


@dataclass
class _Seen:
    """What was found out about runs, each of whose files is read once."""

    project: Project
    check: verify_runs.Check
    is_well: bool  # nothing wrong was found so far, so reports will be made again
    inputs: Inputs = field(default_factory=Inputs)
    manifests: dict[str, list[Problem]] = field(default_factory=dict)  # of each manifest
    wrong: dict[str, list[Problem]] = field(default_factory=dict)  # of each run
    facts: dict[str, Facts] = field(default_factory=dict)  # what it adds to reports, if all is well
    scores: list[Problem] = field(default_factory=list)

    @cached_property
    def guesses(self) -> Guesses:
        return Guesses(self.project.layout)

    @cached_property
    def scored(self) -> dict[str, Cell]:
        return {cell.recipes[0].cell(): cell for cell in self.project.cells.values()}

    def look(self, recipes: list[Recipe]) -> None:
        """Checks all runs of a model, task and regime, their manifests and their scores."""
        runs = {r.digest: listed(self.project, r, self.inputs) for r in recipes}
        skipped: set[str] = set()  # digests of runs that need not be there
        for path in dict.fromkeys(map(self.project.pack_of, recipes)):
            pack = self.project.packs[path]
            wrong = list(verify_runs.manifest(self.project.layout, pack, runs, skipped))
            self.manifests[path], self.is_well = wrong, self.is_well and not wrong
        for digest in (recipe.digest for recipe in recipes):
            run = runs[digest]
            self.wrong[digest] = [] if digest in skipped else list(self.check.run(run))
            self.is_well = self.is_well and not self.wrong[digest]
            if self.is_well:
                self.facts[digest] = facts_of(self.project, run, self.guesses)
        if cell := self.scored.get(recipes[0].cell()):
            self.scores.extend(self._scores(cell, runs))

    def _scores(self, cell: Cell, runs: dict[str, Run]) -> Iterator[Problem]:
        """Checks that each file of scores is what its runs give."""
        layout = self.project.layout
        cannot = any(self.wrong[recipe.digest] for recipe in cell.runs)
        expected = {} if cannot else render_cell(lambda recipe: runs[recipe.digest], cell)
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
            yield Problem(f"{path}: measured by {verify_runs.unknown(code)}", (path,))
