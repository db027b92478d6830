"""DVC around the workflow, in real git repositories with a local remote: no false record is made.

Every test works on a copy, or a clone, of one project whose results are committed and pushed.
"""

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml
from support import forked, sandbox

from beft.study.recipe import RECIPE_VERSION

RATE = ("tasks", "demo_sentiment", "learning_rate")
OLD, NEW = 0.01, 0.03
# Small: `dvc repro` is the point here. One figure, since git keeps no empty folder.
STUDY = sandbox.STUDY | {
    "techniques": ["b_v"],
    "selectors": ["magnitude"],
    "figures": ["figure1"],
    "tables": ["table1"],
}
PERSON = {
    f"GIT_{role}_{key}": value
    for role in ("AUTHOR", "COMMITTER")
    for key, value in (("NAME", "Somebody"), ("EMAIL", "somebody@example.org"))
}


def call(folder: Path, *command: str, check: bool = True, **variables: str):
    """Runs a command in a repository, apart from the settings of whoever runs the tests."""
    own = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    site = str(folder / ".dvc" / "tmp" / "site")
    return sandbox.run(
        folder, *command, check=check, DVC_SITE_CACHE_DIR=site, **own, **PERSON, **variables
    )


def commit(folder: Path, message: str) -> None:
    call(folder, "git", "add", "-A")
    call(folder, "git", "commit", "-q", "-m", message)


def _track(folder: Path) -> None:
    project = sandbox.make(folder / "project", study=STUDY, package=True)
    (project / "data").mkdir()
    shutil.copy(sandbox.ROOT / "data" / "README.md", project / "data")
    call(project, "git", "init", "-q", "-b", "main")
    call(project, "dvc", "remote", "add", "-d", "store", str(folder / "remote"))
    commit(project, "code")
    call(project, "dvc", "repro")
    commit(project, "results")
    call(project, "dvc", "push", "-q")


@pytest.fixture(scope="session")
def tracked(tmp_path_factory, once: Callable) -> Path:
    """A project, not to be changed, with results in git and DVC, and pushed to a remote."""
    return once(tmp_path_factory, "tracked", _track) / "project"


@pytest.fixture
def project(tracked, tmp_path) -> Path:
    """A copy of the tracked project, with its cache."""
    return Path(shutil.copytree(tracked, tmp_path / "project", symlinks=True))


@pytest.fixture(scope="session")
def moved_on(tracked, tmp_path_factory, once: Callable) -> Path:
    """The tracked project, not to be changed, with a second commit: another rate and seed."""

    def build(folder: Path) -> None:
        project = Path(shutil.copytree(tracked, folder / "project", symlinks=True))
        sandbox.change(project / "params.yaml", *RATE, to=NEW)
        sandbox.change(project / "studies" / "mini.yaml", "seeds", to=[1])
        call(project, "dvc", "repro")
        commit(project, "faster")

    return once(tmp_path_factory, "moved_on", build) / "project"


@pytest.fixture
def two(moved_on, tmp_path) -> Path:
    """A copy of the project with two commits."""
    return Path(shutil.copytree(moved_on, tmp_path / "two", symlinks=True))


@pytest.fixture
def clone(tracked, tmp_path) -> Path:
    """What a colleague gets from `git clone`: no data, no cache."""
    call(tmp_path, "git", "clone", "-q", str(tracked), "clone")
    return tmp_path / "clone"


def runs(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "reports" / "runs.csv").set_index("technique")


def history(folder: Path) -> dict[str, list[float]]:
    """Digest of a run -> its losses, which no two rates share."""
    table = pd.read_csv(folder / "reports" / "history.csv")
    return {d: g["train_loss"].dropna().tolist() for d, g in table.groupby("digest")}


def locked(folder: Path) -> dict:
    return yaml.safe_load((folder / "dvc.lock").read_text())["stages"]["reports"]


def assert_honest(folder: Path, tracked: Path, rate: float) -> None:
    """The record holds the rate, and the numbers are new runs' and differ from the old ones."""
    assert (
        locked(folder)["params"]["params.yaml"]["tasks"]["demo_sentiment"]["learning_rate"] == rate
    )
    old, new = runs(tracked), runs(folder)
    for technique in ("b_v", "all_biases"):
        assert new["learning_rate"][technique] == rate
        assert old["learning_rate"][technique] == OLD
        one, two = old["digest"][technique], new["digest"][technique]
        assert one != two
        assert history(tracked)[one] != history(folder)[two]
        run = next(folder.glob(f"data/runs/*/*/*/{technique}/seed-0/{two}"))
        assert json.loads((run / "recipe.json").read_text())["training"]["learning_rate"] == rate


def test_dvc_and_snakemake_agree(project):
    """After either of them, the other one has nothing to do."""
    assert "up to date" in call(project, "dvc", "status").stdout
    assert "up to date" in call(project, "dvc", "repro").stdout
    assert "Nothing to be done" in sandbox.snakemake(project, "-n").stdout
    assert call(project, "git", "status", "--porcelain").stdout == ""
    # another study by snakemake alone: dvc sees what it does not know yet, and trains nothing
    sandbox.change(project / "studies" / "mini.yaml", "seeds", to=[0, 1])
    assert len(sandbox.trained(sandbox.snakemake(project))) == 1
    assert "changed" in call(project, "dvc", "status").stdout
    before = sandbox.marks(project / "data" / "runs")
    call(project, "dvc", "repro")
    assert sandbox.marks(project / "data" / "runs").keys() == before.keys()
    assert "up to date" in call(project, "dvc", "status").stdout
    assert "Nothing to be done" in sandbox.snakemake(project, "-n").stdout
    assert len(runs(project).loc["b_v"]) == 2


def moved(old: pd.DataFrame, new: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """What `dvc metrics diff` must list of two frames of one run per technique."""
    both = old[["best"]].join(new["best"], rsuffix="_new").round(6)
    rows = both[both["best"] != both["best_new"]].itertuples(name=None)
    return {f"best.tiny.demo_sentiment.low.{name}": (a, b) for name, a, b in rows}


def test_metrics_diff_lists_the_cells_that_moved(tracked, two):
    shown = json.loads(call(two, "dvc", "metrics", "show", "--json").stdout)
    values = shown[""]["data"]["reports/metrics.json"]["data"]["best"]["tiny"]
    best = runs(two)["best"]["b_v"]
    assert values["demo_sentiment"]["low"]["b_v"] == pytest.approx(best, abs=1e-6)
    diff = json.loads(call(two, "dvc", "metrics", "diff", "HEAD~1", "HEAD", "--json").stdout)
    cells = {name: (change["old"], change["new"])
             for name, change in diff["reports/metrics.json"].items()}  # fmt: skip
    assert moved(runs(tracked), runs(two))
    assert cells == moved(runs(tracked), runs(two))  # and no count of runs, no selector
    table = call(two, "dvc", "metrics", "diff", "HEAD~1").stdout
    assert "best.tiny.demo_sentiment.low.untuned" in table


def test_plots_diff_shows_both_revisions(tracked, two):
    """Every point of either commit is there, in a page that loads nothing."""
    shown = json.loads(call(two, "dvc", "plots", "diff", "HEAD~1", "--json").stdout)["data"]
    points = {name: plot[0]["content"]["data"]["values"] for name, plot in shown.items()}
    assert set(points) == {"Metric of every run", "Rank of every term", "Intervals of every cell"}
    for folder, revision in ((tracked, "HEAD~1"), (two, "workspace")):
        own = [p for p in points["Metric of every run"] if p["rev"] == revision]
        assert {p["digest"]: float(p["best"]) for p in own} == dict(
            runs(folder)[["digest", "best"]].values.tolist()
        )
        own = [p for p in points["Rank of every term"] if p["rev"] == revision]
        assert len(own) == len(pd.read_csv(folder / "reports" / "scores.csv"))
        own = [p for p in points["Intervals of every cell"] if p["rev"] == revision]
        table = pd.read_csv(folder / "reports" / "intervals.csv")
        assert sorted(float(p["low"]) for p in own) == pytest.approx(sorted(table["low"]))
        assert len(table)
    call(two, "dvc", "plots", "diff", "HEAD~1")
    page = two / "dvc_plots" / "index.html"
    assert len(re.findall('src="https?://', page.read_text())) == 3
    sandbox.run(two, sys.executable, "workflow/offline.py", str(page))
    text = page.read_text()
    assert "src=" not in re.sub("<script>.*?</script>", "", text, flags=re.S)
    assert text.count("<script>") == 3 and "factory(global.vega = {})" in text
    assert runs(tracked)["digest"]["b_v"] in text and runs(two)["digest"]["b_v"] in text


def test_beft_compare_between_commits(tracked, two):
    """Each moved cell, the rate that moved it, and the same from a clone without data."""
    call(two.parent, "git", "clone", "-q", str(two), "clone")
    said = sandbox.run(two.parent / "clone", "beft", "compare", "HEAD~1")
    for name in moved(runs(tracked), runs(two)):
        assert f"tiny · demo_sentiment · low · {name.rpartition('.')[2]}" in said.stdout
    assert "tasks.demo_sentiment.learning_rate" in said.stdout
    same = sandbox.run(two, "beft", "compare", "HEAD")
    assert f"nothing differs in 3 cells and {len(runs(two))} runs" in same.stdout


def test_fresh_clone_with_another_rate(tracked, clone):
    """Clone, pull, change the rate, repro: new runs; and back: the old ones, untrained."""
    call(clone, "dvc", "pull", "-q")
    assert "up to date" in call(clone, "dvc", "status").stdout
    sandbox.run(clone, "beft", "verify")
    old = sandbox.contents(clone / "data" / "runs")
    params = (clone / "params.yaml").read_text()
    sandbox.change(clone / "params.yaml", *RATE, to=NEW)
    call(clone, "dvc", "repro")
    assert_honest(clone, tracked, NEW)
    both = sandbox.contents(clone / "data" / "runs")
    assert {path: both[path] for path in old} == old
    (clone / "params.yaml").write_text(params)
    marks = sandbox.marks(clone / "data" / "runs")
    call(clone, "dvc", "repro")
    assert sandbox.marks(clone / "data" / "runs").keys() == marks.keys()
    assert sandbox.contents(clone / "reports") == sandbox.contents(tracked / "reports")


def test_clone_without_pull_gets_the_same_numbers(tracked, clone):
    """No data at all: everything is made anew, and is the same."""
    assert [path.name for path in (clone / "data").iterdir()] == ["README.md"]
    call(clone, "dvc", "repro")
    for name in ("metrics.json", "scores.csv", "history.csv", "tables/table1.csv"):
        assert (clone / "reports" / name).read_bytes() == (tracked / "reports" / name).read_bytes()
    assert runs(clone)["digest"].to_dict() == runs(tracked)["digest"].to_dict()


def test_experiment_in_a_temporary_folder(tracked, project):
    """`dvc exp run --temp` with another rate records that rate's numbers."""
    before = sandbox.contents(project / "reports")
    call(project, "dvc", "exp", "run", "--temp", "-n", "faster", "-S", f"{'.'.join(RATE)}={NEW}")
    assert sandbox.contents(project / "reports") == before  # the workspace is left alone
    call(project, "dvc", "exp", "apply", "faster")
    assert_honest(project, tracked, NEW)
    sandbox.run(project, "beft", "verify")


def test_edited_library(tracked, project):
    """Code that gives other numbers cannot be locked; a new recipe version trains anew."""
    # other seeds of dropout: Adam and clipping would undo a mere factor of the loss
    train = project / "beft" / "training" / "loop.py"
    text = train.read_text()
    assert 'f"{seed}/{epoch}/{step}"' in text
    train.write_text(text.replace('f"{seed}/{epoch}/{step}"', 'f"{seed}+{epoch}+{step}"'))
    lock = (project / "dvc.lock").read_bytes()
    edited = {forked.LIBRARY: str(project)}
    done = call(project, "dvc", "repro", check=False, **edited)
    assert done.returncode != 0
    assert "the code that decides numbers was edited" in done.stdout + done.stderr
    assert (project / "dvc.lock").read_bytes() == lock
    version = RECIPE_VERSION
    recipe = project / "beft" / "study" / "recipe.py"
    text = recipe.read_text()
    assert f"RECIPE_VERSION = {version} " in text
    recipe.write_text(
        text.replace(f"RECIPE_VERSION = {version} ", f"RECIPE_VERSION = {version + 1} ")
    )
    call(project, "beft", "verify", "--accept-code", **edited)
    call(project, "dvc", "repro", **edited)
    assert (project / "dvc.lock").read_bytes() != lock
    one, two = runs(tracked)["digest"]["b_v"], runs(project)["digest"]["b_v"]
    assert one != two
    assert history(tracked)[one] != history(project)[two]
