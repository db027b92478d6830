"""`beft plan`: which runs it counts, and how it estimates time and disk space."""

from pathlib import Path
from shutil import copytree, rmtree

import pytest
from support import sandbox
from support.estimates import PARAMS, STUDY, finish
from support.local_files import local_task, write_local

from beft.cli import operations
from beft.data.sources import fetch_task
from beft.operations.cost import Costs
from beft.operations.disk import run_bytes
from beft.operations.left import Left
from beft.operations.plan import Plan, wall_seconds
from beft.operations.sizes import Extent, Shape
from beft.store.files import read_json, to_json, write_folder
from beft.store.manifest import entry, write_manifest
from beft.store.run_folder import Run, open_run
from beft.study.grid import task_source
from beft.study.identity import sha256
from beft.study.project import load
from beft.study.recipe import Pack, Recipe


@pytest.fixture
def root(tmp_path):
    sandbox.write(tmp_path / "params.yaml", PARAMS)
    sandbox.write(tmp_path / "studies" / "mini.yaml", STUDY)
    return tmp_path


def said(capsys, root, study=None, profile=None) -> str:
    capsys.readouterr()
    operations.plan(study, root / "params.yaml", profile)
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("seconds", "at_once", "expected"),
    [
        ([3, 3, 3], 1, 9),
        ([3, 3, 3], 2, 6),
        ([1, 1, 1, 5], 2, 5),  # the longest first, or it would end at 6 or later
        ([4], 8, 4),
        ([], 8, 0),
    ],
)
def test_wall_time(seconds, at_once, expected):
    assert wall_seconds(seconds, at_once) == expected


def listed(project, pack: Pack, statuses: dict[str, str] | None = None) -> None:
    """Writes the manifest of a pack; runs have the status that is given by technique, or `ok`."""
    entries = []
    for recipe in pack.recipes:
        status = (statuses or {}).get(recipe.technique, "ok")
        checksum = open_run(project.layout, recipe).checksum
        entries.append(entry(recipe, status, "why", checksum))
    write_manifest(project.layout.pack(pack.manifest()), entries, pack.skip_inert)


def planned(project) -> dict[str, Left]:
    return {job.pack.manifest(): job.left for job in Plan(project, Costs(project)).jobs}


def test_what_is_there_is_not_planned_again(root):
    """Runs that were written, with or without the manifest of their job, and runs left out."""
    sandbox.change(root / "studies" / "mini.yaml", "skip_inert", to=True)
    project = load(root / "params.yaml")
    (first, pack), (second, other), *_ = project.packs.items()
    finish(project, pack.recipes[0], 10)
    for recipe in other.recipes:
        if recipe.technique != "b_v":
            finish(project, recipe, 10)
    listed(project, other, {"b_v": "skipped"})
    found = planned(project)
    assert [r.seed for r in found[first].runs] == [1, 2]
    assert found[second].runs == [] and not any(left.refused for left in found.values())


def edited(run: Run, name: str = "metrics.json", seal: bool = True) -> None:
    """Another reason in a file of a run."""
    (run.folder / name).write_bytes(to_json({**read_json(run.folder / name), "reason": "odd"}))
    if seal:
        sums = {n: sha256(run.folder / n) for n in read_json(run.folder / "checksums.json")}
        (run.folder / "checksums.json").write_bytes(to_json(sums))


def of_other_data(project, recipe: Recipe) -> None:
    """Puts a dataset where the recipe's belongs, other than the one that its run was trained on."""
    source = project.layout.source(recipe)
    given = task_source(recipe.task["name"], project.params.tasks[recipe.task["name"]], Path())
    note = {"task": recipe.task["name"], "source": given, "read": {}}
    write_folder(source, {"train.parquet": b"", "source.json": to_json(note)})


REFUSED = {
    "copied from another recipe": (
        lambda p, run, other: (rmtree(run.folder), copytree(other.folder, run.folder)),
        "recipe.json is not the recipe of this folder's name",
    ),
    "an edited metric": (
        lambda p, run, other: edited(run, seal=False),
        "metrics.json is damaged",
    ),
    "an edited and sealed metric": (lambda p, run, other: edited(run), "not the run that"),
    "of other data": (lambda p, run, other: of_other_data(p, run.recipe), "trained on other data"),
    "lost": (lambda p, run, other: rmtree(run.folder), "lost: its manifest is there"),
    "of code that is not accepted": (
        lambda p, run, other: (
            rmtree(run.folder),
            finish(p, run.recipe, 10, status="ok"),
            change_code(run),
            listed(p, p.packs[p.pack_of(run.recipe)]),
        ),
        "trained by code ffff, which is not accepted",
    ),
}


def change_code(run: Run) -> None:
    facts = {**read_json(run.folder / "provenance.json"), "code": "ffff"}
    (run.folder / "provenance.json").write_bytes(to_json(facts))
    edited(run, "metrics.json")


def test_runs_that_differ_in_precision_are_told_in_one_line(root, capsys):
    project = load(root / "params.yaml")
    for recipe in project.recipes:
        finish(project, recipe, 10)
    assert "precision" not in said(capsys, root)
    odd = [r for r in project.recipes if r.technique == "b_v" and r.regime == "low"][0]
    rmtree(project.layout.run(odd))
    finish(project, odd, 10, precision="bfloat16")
    (line,) = (text for text in said(capsys, root).splitlines() if "precision" in text)
    assert line.startswith("different precision: in 1 cell, the runs of one technique")
    assert line.endswith(f"{odd.cell()}/b_v: 2 float32, 1 bfloat16")


@pytest.mark.parametrize("case", REFUSED)
def test_runs_that_verify_refuses_are_left_to_do_and_said_to_be_refused(root, capsys, case):
    project = load(root / "params.yaml")
    for pack in project.packs.values():
        for recipe in pack.recipes:
            finish(project, recipe, 10)
        listed(project, pack)
    assert f"to run: 0 of {len(project.recipes)}" in said(capsys, root)
    run, other = (open_run(project.layout, r) for r in project.recipes[:2])
    act, words = REFUSED[case]
    act(project, run, other)
    left = planned(project)[project.pack_of(run.recipe)]
    assert run.recipe in left.runs and words in left.refused[str(run.folder)]
    others = [r for r in project.recipes if r.source == run.recipe.source]
    count = len(others) if case == "of other data" else 1
    text = " ".join(said(capsys, root).split())
    assert f"to run: {count} of {len(project.recipes)}" in text
    assert f"{count} of these were run before, and 'beft verify' refuses them" in text
    assert str(run.folder) in text and words in text


def test_the_size_of_a_run_is_that_of_its_snapshots_and_predictions(root):
    model, task = Shape(10**6, 10**6, 2, 100), Extent(80, 30)
    project = load(root / "params.yaml")
    runs = {r.technique: r for r in project.recipes if r.model["alias"] == "m"}
    terms = 2 * 11 * 100 * 4  # layers, widths of all terms, bytes
    # before, after and after 3 epochs; predictions of best and last: 30 rows, 2 labels, 4 bytes
    rest = 2 * 30 * 2 * 4 + 20_000
    assert run_bytes(runs["b_v"], model, task) == 5 * terms + rest
    # before and after, and three statistics of gradients
    assert run_bytes(runs["untuned"], model, task) == 5 * terms + rest


def test_disk_follows_from_runs_that_are_done(root, capsys):
    project = load(root / "params.yaml")
    for recipe in project.recipes:
        if recipe.seed == 0:
            finish(project, recipe, 10)
            padding = b"x" * (50_000_000 - 200)
            (project.layout.run(recipe) / "biases.safetensors").write_bytes(padding)
    left = sum(recipe.seed != 0 for recipe in project.recipes)
    gigabytes = float(said(capsys, root).split("disk: ")[1].split()[0])
    # Rows and epochs differ between the runs of a technique, hence the margin.
    assert gigabytes == pytest.approx(0.05 * left, rel=0.2)


def test_the_plan_says_what_the_rest_takes_and_what_it_is_based_on(root, capsys):
    before = said(capsys, root)
    project = load(root / "params.yaml")
    assert f"to run: {len(project.recipes)} of {len(project.recipes)}" in before
    selecting = sum(r.technique in ("all_biases", "untuned") for r in project.recipes)
    assert f"for selectors alone: {selecting} runs" in before and selecting
    assert "assumed" in before and "disk:" in before and "memory of the largest job" in before
    works = Costs(project).work
    for recipe in project.recipes:
        finish(project, recipe, works(recipe) / 1e12, device="cpu")
        if recipe.seed == 1:
            (project.layout.run(recipe) / "checksums.json").unlink()
    after = said(capsys, root)
    left = [recipe for recipe in project.recipes if recipe.seed == 1]
    assert f"to run: {len(left)} of {len(project.recipes)}" in after
    assert f"about {sum(map(works, left)) / 1e12 / 3600:.2g} hours" in after
    assert "fitted to" in after and "assumed" not in after


def test_nothing_left_costs_nothing(root, capsys):
    project = load(root / "params.yaml")
    for recipe in project.recipes:
        finish(project, recipe, 10)
    text = said(capsys, root)
    assert f"to run: 0 of {len(project.recipes)}" in text
    assert "hours" not in text and "disk" not in text


def test_a_profile_picks_study_and_jobs_at_once(root, capsys):
    sandbox.write(root / "studies" / "other.yaml", STUDY | {"seeds": [7]})
    profile = {"executor": "slurm", "jobs": 3, "config": ["study=other"],
               "set-resources": {"train": {"gpu": 1}}}  # fmt: skip
    sandbox.write(root / "cluster" / "config.yaml", profile)
    text = said(capsys, root, profile=str(root / "cluster"))
    project = load(root / "params.yaml", "other")
    assert f"study other: {len(project.recipes)} runs, {len(project.packs)} jobs" in text
    assert "GPU hours" in text and "3 jobs at once" in text
    assert "one GPU: " in text and "eight GPUs: " in text
    assert "ask for no GPU" not in text
    lacking = [line for line in text.splitlines() if line.startswith("missing: ")]
    assert len(lacking) == 2 and "missing: 3 more" in lacking[1]  # two models, two tasks
    assert "study mini" in said(capsys, root, "mini", str(root / "cluster"))


def test_jobs_without_gpus_are_pointed_out(root, capsys):
    sandbox.write(root / "cluster" / "config.yaml", {"executor": "slurm", "jobs": 3})
    assert "ask for no GPU" in said(capsys, root, profile=str(root / "cluster"))
    sandbox.change(root / "params.yaml", "execution", "gpu", to=1)
    assert "ask for no GPU" not in said(capsys, root, profile=str(root / "cluster"))


def test_jobs_that_train_nothing_are_said_apart(root, capsys):
    assert "not included" not in said(capsys, root)
    first = load(root / "params.yaml").recipes[0]
    model, task, regime = first.cell().split("/")
    timed = {"model": model, "task": task, "regime": regime, "techniques": [first.technique]}
    sandbox.change(root / "studies" / "mini.yaml", "timing", to=[timed])
    words = " ".join(said(capsys, root).split())
    assert "not included in the times below: 1 job to time runs" in words


def test_odd_rows_of_local_files_are_told_once_they_are_fetched(root, capsys):
    """Here validation is the same file as train."""
    write_local(root / "mine", "csv")
    task = local_task("mine", learning_rate=1e-3, epochs=1, regimes={"low": 2})
    given = task.model_dump(exclude_none=True, exclude_defaults=True)
    sandbox.change(root / "params.yaml", "tasks", "mine", to=given)
    sandbox.change(
        root / "studies" / "mini.yaml", "also", to=[{"tasks": ["mine"], "regimes": ["low"]}]
    )
    assert "data of" not in said(capsys, root)
    fetch_task(root, "mine", task)
    (line,) = [text for text in said(capsys, root).splitlines() if text.startswith("data of")]
    assert line.startswith("data of tasks.mine: train (5 rows): rows with an empty text: 1")
    assert line.endswith("rows whose texts are in the training split, too: 5")
