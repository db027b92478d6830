"""What the commands of `beft.cli.app` do; imported only when one is called."""

import logging
import os
import signal
import sys
from functools import partial
from pathlib import Path

from rich.console import Console

from beft.cli.progress import Progress
from beft.errors import UserError
from beft.store import accepted_code
from beft.store.files import explain_os_errors, to_json, write_file
from beft.store.run_folder import open_run
from beft.study import params as P
from beft.study import studies
from beft.study.project import Project, load
from beft.study.recipe import RECIPE_VERSION

log = logging.getLogger(__name__)


def fetch(
    params: Path, study: str | None, tasks: list[str], models: list[str], check: bool = False
) -> None:
    project = load(params, study)
    if not tasks and not models:
        tasks, models = list(project.sources().values()), list(project.models().values())
    for kind, names, known in (
        ("task", tasks, list(project.sources().values())),
        ("model", models, list(project.models().values())),
    ):
        for name in (name for name in names if name not in known):
            hint = P.nearest(name, known)
            raise UserError(f"{kind} '{name}' is not part of study '{project.name}'; {hint}")
    _check_stock(project, tasks, models) if check else _fetch(project, tasks, models)


def _fetch(project: Project, tasks: list[str], models: list[str]) -> None:
    from beft.data.mirror.fetch import fetch_model
    from beft.data.mirror.transfers import fetch_all
    from beft.data.sources import fetch_task

    root, given = project.root, project.params
    folder = project.layout.folder("models")
    markers = {alias: folder / marker for marker, alias in project.models().items()}
    jobs = {}  # models first: they take longest
    for name in models:
        job = partial(fetch_model, root, name, given.models[name], markers[name])
        jobs[f"models.{name}"] = job
    for name in tasks:
        jobs[f"tasks.{name}"] = partial(fetch_task, root, name, given.tasks[name])
    _fail(fetch_all(jobs))


def _check_stock(project: Project, tasks: list[str], models: list[str]) -> None:
    from beft.data.mirror.stock import stock

    found = stock(project, tasks, models)
    _fail(found.missing)
    print(f"{found.there} datasets and models are as pinned ({found.size / 1e9:.3f} GB)")


def _fail(lines: list[str]) -> None:
    """Ends the command when something went wrong, each with a line of its own."""
    for line in lines:
        print(f"beft: {' '.join(line.split())}", file=sys.stderr)
    if lines:
        sys.exit(2)


def subsample(params: Path, study: str | None, subset: Path) -> None:
    from beft.data.subsets import write_subset

    project = load(params, study)
    recipe = project.find(project.subsets, "subsets", subset)
    write_subset(project.layout.source(recipe), recipe, subset)


def train(
    params: Path,
    study: str | None,
    manifest: Path,
    device: str,
    threads: int | None,
    checkpoint_seconds: float | None,
) -> None:
    project = load(params, study)
    pack = project.find(project.packs, "packs", manifest)
    execution = project.params.execution
    device = _machine(project, device, threads)
    import torch

    from beft.training.loop import Interrupted
    from beft.training.pack import run_pack

    seconds = execution.checkpoint_seconds if checkpoint_seconds is None else checkpoint_seconds
    with Progress(pack.recipes[0].cell()) as progress:
        try:
            run_pack(project.layout, pack, manifest, device, seconds, progress.update)
        except Interrupted:
            log.warning("stopped; the next start goes on from the last checkpoint")
            sys.exit(128 + signal.SIGTERM)
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"{manifest}: out of memory on {device}, in the smallest pass that is possible "
                f"({str(error).splitlines()[0]}); use a larger one, or a smaller max_length or "
                "batch_size"
            ) from error


def _machine(project: Project, device: str, threads: int | None) -> str:
    """Sets this process up to compute; the device to do it on."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # jobs read the mirror only
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import torch

    from beft.operations.gpus import device_of

    torch.set_num_threads(threads or project.params.execution.threads)
    return device_of(device)


def time(params: Path, study: str | None, timings: Path, device: str, threads: int | None) -> None:
    project = load(params, study)
    timed = project.find(project.timings, "timings", timings)
    device = _machine(project, device, threads)
    from beft.training.timing import render_timings

    threads = threads or project.params.execution.threads
    # Ends the process that trains, too; by itself SIGTERM would leave it behind.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    with Progress(timed.recipes[0].cell()) as progress:
        write_file(timings, render_timings(project.layout, timed, device, threads, progress.update))


def evaluate_merge(
    params: Path, study: str | None, merges: Path, device: str, threads: int | None
) -> None:
    project = load(params, study)
    merged = project.find(project.merges, "merges", merges)
    device = _machine(project, device, threads)
    from beft.adapters.evaluate_merge import render_merge

    with Progress(merged.couples[0].tuned[0].model["alias"]) as progress:
        write_file(merges, render_merge(project, merged, device, progress.update))


def score(params: Path, study: str | None, scores: Path) -> None:
    from beft.selectors.score_files import write_cell

    project = load(params, study)
    cell = project.find(project.cells, "scores", scores)
    for recipe in cell.runs:
        run = open_run(project.layout, recipe)
        if run.flaw:
            raise UserError(
                f"{run.folder}: {run.flaw}; run 'beft verify --repair' and then snakemake again"
            )
    write_cell(project.layout, cell)


def collect(params: Path, study: str | None, reports: Path) -> None:
    _collect(load(params, study), reports)


def _collect(project: Project, reports: Path) -> None:
    from beft.report.frames import schema
    from beft.report.frames.collect import collect
    from beft.report.stamp import stamp

    schema.write(collect(project), reports)
    if reports.resolve() == project.root / "reports":
        stamp(project)


def tabulate(reports: Path) -> None:
    from beft.report.build import write_tables
    from beft.report.frames import schema

    with explain_os_errors(reports):
        paths = write_tables(schema.read(reports), reports)
    log.info("wrote %d files of tables to %s", len(paths), reports)


def plot(reports: Path) -> None:
    from beft.report.build import write_figures
    from beft.report.frames import schema

    with explain_os_errors(reports):
        write_figures(schema.read(reports), reports)


def page(reports: Path) -> None:
    from beft.report.build import write_page
    from beft.report.frames import schema

    with explain_os_errors(reports):
        write_page(schema.read(reports), reports)


def report(params: Path, study: str | None, reports: Path) -> None:
    from beft.report.build import build
    from beft.selectors.score_files import write_cell

    project = load(params, study)
    layout = project.layout
    for cell in project.cells.values():
        there = all(layout.scores(key).is_file() for key in cell.files())
        if not there and all(open_run(layout, recipe).flaw is None for recipe in cell.runs):
            write_cell(layout, cell)
    _collect(project, reports)
    with explain_os_errors(reports):
        build(reports)


def compare(first: str, second: str, epoch: str, to: Path | None) -> None:
    from beft.report.compare import view
    from beft.report.compare.compare import compare as compare_reports
    from beft.report.compare.revisions import open_reports
    from beft.report.tables.formats import WRITERS

    if to is not None and to.suffix not in WRITERS:
        raise UserError(f"--to {to}: a name that ends with {', '.join(WRITERS)}")
    found = compare_reports(open_reports(first), open_reports(second), epoch)
    table = view.as_table(found)
    if to is None:
        view.show(table, Console(width=None if sys.stdout.isatty() else 120))
        return
    with explain_os_errors(to):
        write_file(to, WRITERS[to.suffix](table).encode())
    print(f"{to}: {view.headline(found)}")


def plan(params: Path, study: str | None, profile: str | None) -> None:
    from beft.operations.plan import show
    from beft.operations.profile import read_profile

    chosen = read_profile(profile, params.resolve().parent) if profile else None
    show(load(params, study or (chosen.study if chosen else None)), chosen)


def verify(params: Path, study: str | None, repair: bool, accept_code: bool) -> None:
    from beft import code_identity
    from beft.operations.repair import repair as repair_project
    from beft.operations.verify import problems

    if repair and accept_code:
        raise UserError("--repair and --accept-code are two things; give one at a time")
    if accept_code:
        print(f"code {accepted_code.accept()} is declared equivalent for recipe version", end=" ")
        print(RECIPE_VERSION)
        return
    project = load(params, study)
    found = problems(project)
    for problem in found:
        print(f"beft: {problem.line}", file=sys.stderr)
    if repair:
        gone = repair_project(project, found)
        for path in gone:
            print(f"{path}: will be made again")
        packs = sum(path.is_relative_to(project.layout.folder("packs")) for path in gone)
        print(f"{packs} packs will be redone by the next snakemake; sound runs in them are kept")
        if code_identity.code_digest() not in accepted_code.accepted():
            raise UserError("edited code is yours to judge: see the first line above")
        return
    if found:
        print(f"beft: {len(found)} problems in study '{project.name}'", file=sys.stderr)
        sys.exit(1)
    print(f"{len(project.recipes)} runs of study '{project.name}' are what their recipes say")


def prune(params: Path, yes: bool) -> None:
    import typer

    from beft.operations import prune as pruning

    projects = pruning.studies(params)
    found = pruning.things(projects)
    gone = [thing for thing in found if not thing.named]
    table = pruning.overview(projects, found)
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    if not gone:
        print("nothing to remove")
    elif yes or typer.confirm(f"Remove {len(gone)} files and folders for good?"):
        pruning.prune(projects[0].layout, gone)
        print(f"{len(gone)} removed")
    else:
        print("nothing was removed")


def export(params: Path, study: str | None, digest: str, to: Path, epoch: str) -> None:
    from beft.adapters.export import export as export_run

    os.environ["HF_HUB_OFFLINE"] = "1"  # only what is in the mirror
    recipe = export_run(load(params, study), digest, to, epoch)
    print(f"{to}: {recipe.folder()}, {epoch} epoch, as a BEFT adapter for PEFT")


def merge(
    params: Path,
    study: str | None,
    digests: list[str],
    to: Path,
    weights: str | None,
    epoch: str,
    device: str,
    threads: int | None,
) -> None:
    project = load(params, study)
    try:
        shares = None if weights is None else [float(each) for each in weights.split(",")]
    except ValueError:
        raise UserError(f"--weights: '{weights}' are no numbers; give them as 0.7,0.3") from None
    device = _machine(project, device, threads)
    from beft.adapters.merge import merge as merge_runs

    merged = merge_runs(project, digests, to, shares, epoch, device)
    for run in merged["runs"]:
        print(f"{to / run['folder']}: run {run['digest']}, weight {run['weight']:.4g}")
    for row in merged["scores"]:
        own, mean = ("undefined" if v is None else f"{v:.4f}" for v in (row["own"], row["merged"]))
        place = f"{row['task']} {row['split']} {row['metric']}"
        print(f"{place}: merged {mean}, its own bias {own} (run {row['digest']})")
    print(f"weights were divided by their sum; angles between the biases: {to / 'merge.json'}")


def recover(params: Path, adopt: bool, then: list[str]) -> None:
    from beft.operations.recover import recover as clear_up

    P.load_params(params)
    root = params.resolve().parent
    clear_up(root, adopt, log.info)
    if not then:
        print("go on with the command that you had started, for example: snakemake --profile slurm")
        return
    os.chdir(root)
    os.execvp("snakemake", ["snakemake", *then])


def schema(folder: Path) -> None:
    kinds = {"params": P.Params, "study": studies.Study, "union": studies.Union}
    for name, model in kinds.items():
        write_file(folder / f"{name}.schema.json", to_json(model.model_json_schema()))


def summary(reports: Path) -> None:
    from beft.report.analysis import cells
    from beft.report.analysis.selection import selections
    from beft.report.frames import schema

    console = Console(width=None if sys.stdout.isatty() else 100)
    console.print(selections(cells.shown(schema.read(reports))))
    console.print(f"\n{(reports / 'index.html').resolve()}", soft_wrap=True)
