"""`beft verify`: recompute what every file must be, and name the files that differ."""

from collections.abc import Iterator

from beft.adapters.merge_results import merge_flaw
from beft.operations import verify_inputs, verify_reports, verify_runs
from beft.operations.problem import Problem, to_redo
from beft.selectors.score_files import render_cell
from beft.store import accepted_code
from beft.store.files import read_json
from beft.store.measurement_files import timing_flaw
from beft.store.precision import remarks
from beft.study.project import Project

UNCHECKED = "cannot be checked, since runs it is from are unsound"


def problems(project: Project) -> list[Problem]:
    """Everything that is wrong with a study's data and reports, and remarks on its runs.

    Scores are computed again from sound runs. Reports are computed again only if nothing else is
    wrong; otherwise their checksums tell which files are damaged.
    """
    inputs = [*verify_inputs.sources(project), *verify_inputs.models(project)]
    found = [*verify_runs.code(), *verify_inputs.mirror(project), *inputs]
    skipped: set[str] = set()
    for pack in project.packs.values():
        found += verify_runs.manifest(project.layout, pack, skipped)
    unsound: set[str] = set()
    check = verify_runs.Check(project, set(to_redo(inputs)))
    for recipe in project.recipes:
        if recipe.digest not in skipped and (wrong := list(check.run(recipe))):
            unsound.add(recipe.digest)
            found += wrong
    found += _scores(project, unsound)
    found += _measured(project, unsound)
    sealed = list(verify_reports.sealed(project))
    if not found:
        found += verify_reports.reports(project, to_redo(sealed))
    found += [problem for problem in sealed if set(to_redo(found)).isdisjoint(problem.redo)]
    return found + [Problem(line, wrong=False) for line in remarks(check.computed)]


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
            yield Problem(f"{path}: measured by {verify_runs.unknown(code)}", (path,))
