"""Commands around a study: `plan`, `verify`, `prune`, `recover` and `schema`."""

import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from beft.cli import options as opt
from beft.cli.console import complain, console
from beft.errors import UserError
from beft.store.files import to_json, write_file

log = logging.getLogger(__name__)


def plan(
    study: opt.Study = None,
    params: opt.Params = opt.PARAMS,
    profile: Annotated[
        str | None,
        typer.Option(help="A workflow profile: plan its study, and say what its jobs cost."),
    ] = None,
) -> None:
    """Show what the study would run, what exists already, and what the rest would cost."""
    from beft.operations.cost import Costs
    from beft.operations.plan import Plan, as_lines, as_table
    from beft.operations.profile import read_profile

    chosen = read_profile(profile, params.resolve().parent) if profile else None
    project = opt.load(params, study or (chosen.study if chosen else None))
    planned = Plan(project, Costs(project), chosen)
    console().print(as_table(planned))
    for line in as_lines(planned):
        console().print(line, soft_wrap=True, markup=False)


def verify(
    study: opt.Study = None,
    params: opt.Params = opt.PARAMS,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Remove what is damaged, so that snakemake makes it again."),
    ] = False,
    accept_code: Annotated[
        bool,
        typer.Option("--accept-code", help="Declare that the edited code gives the same numbers."),
    ] = False,
) -> None:
    """Check that every number belongs to its recipe: digests, checksums, inputs, code, reports."""
    from beft import code_identity
    from beft.operations.problem import repair as repair_project
    from beft.operations.verify import problems
    from beft.store import accepted_code
    from beft.study.recipe import RECIPE_VERSION

    if repair and accept_code:
        raise UserError("--repair and --accept-code exclude each other; give one at a time")
    if accept_code:
        code = accepted_code.accept()
        print(f"code {code} is declared equivalent for recipe version {RECIPE_VERSION}")
        return
    project = opt.load(params, study)
    found = problems(project)
    lines = list(dict.fromkeys(problem.line for problem in found))
    complain(lines)
    if repair:
        gone = repair_project(project, found)
        for path in gone:
            print(f"{path}: will be made again")
        packs = sum(path.is_relative_to(project.layout.folder("packs")) for path in gone)
        print(f"{packs} packs will be redone by the next snakemake; sound runs in them are kept")
        if code_identity.code_digest() not in accepted_code.accepted():
            raise UserError("--repair cannot judge edited code: see the first line above")
        return
    if wrong := {problem.line for problem in found if problem.wrong}:
        complain([f"{len(wrong)} problems in study '{project.name}'"])
        sys.exit(1)
    print(f"{len(project.recipes)} runs of study '{project.name}' are what their recipes say")


def prune(
    params: opt.Params = opt.PARAMS,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> None:
    """Remove runs and derived files that no study uses; asks first.

    Studies are those in studies/, and any other file that a run was trained for and that still
    exists. Links are not followed.
    """
    from beft.operations import prune as pruning
    from beft.operations.studies_in_use import studies_in_use
    from beft.study.layout import Layout

    layout = Layout(params.resolve().parent)
    projects = studies_in_use(params, pruning.run_folders(layout))
    found = pruning.things(projects)
    gone = [thing for thing in found if not thing.named]
    console().print(pruning.overview(projects, found))
    if not gone:
        print("nothing to remove")
    elif yes or typer.confirm(f"Remove {len(gone)} files and folders for good?"):
        pruning.prune(layout, gone)
        print(f"{len(gone)} removed")
    else:
        print("nothing was removed")


def recover(
    then: Annotated[
        list[str] | None,
        typer.Argument(metavar="[-- OPTIONS]", help="Start snakemake again with these options."),
    ] = None,
    adopt: Annotated[
        bool,
        typer.Option("--adopt", help="Wait for jobs that still train instead of ending them."),
    ] = False,
    params: opt.Params = opt.PARAMS,
) -> None:
    """Clean up after snakemake was killed: end its jobs, unlock the folder, start again.

    For example: beft recover -- --profile slurm
    """
    from beft.operations.recover import recover as clean_up
    from beft.operations.recover import snakemake_program
    from beft.study.definitions import read_params

    read_params(params)
    root = params.resolve().parent
    clean_up(root, adopt, log.info)
    if not then:
        print("now repeat the command that you had started, such as: snakemake --profile slurm")
        return
    os.chdir(root)
    os.execv(program := snakemake_program(), [program, *then])


def schema(
    folder: Annotated[Path, typer.Argument(help="The folder to write to.")] = Path(
        "workflow/schemas"
    ),
) -> None:
    """Write the JSON schemas of params.yaml and of studies."""
    from beft.study.params import Params
    from beft.study.studies import Study, Union

    for name, model in (("params", Params), ("study", Study), ("union", Union)):
        write_file(folder / f"{name}.schema.json", to_json(model.model_json_schema()))
