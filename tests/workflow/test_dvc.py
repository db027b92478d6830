"""DVC around the workflow, in real git repositories with a local remote: no false record is made.

Every test works on a copy, or a clone, of one project whose results are committed and pushed.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import sandbox
import yaml

from beft import numerics

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


def call(folder: Path, *command: str, check: bool = True):
    """Runs a command in a repository, apart from the settings of whoever runs the tests."""
    own = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    site = str(folder / ".dvc" / "tmp" / "site")
    return sandbox.run(folder, *command, check=check, DVC_SITE_CACHE_DIR=site, **own, **PERSON)


def commit(folder: Path, message: str) -> None:
    call(folder, "git", "add", "-A")
    call(folder, "git", "commit", "-q", "-m", message)


def _track(folder: Path) -> None:
    project = sandbox.make(folder / "project", study=STUDY, package=True)
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


def test_metrics_and_plots(project):
    shown = json.loads(call(project, "dvc", "metrics", "show", "--json").stdout)
    values = shown[""]["data"]["reports/metrics.json"]["data"]["best"]["tiny"]
    best = runs(project)["best"]["b_v"]
    assert values["demo_sentiment"]["low"]["b_v"] == pytest.approx(best, abs=1e-6)
    path = project / "reports" / "metrics.json"
    path.write_text(path.read_text().replace(f'"b_v": {best}', '"b_v": 0.25'))
    diff = call(project, "dvc", "metrics", "diff", "--json").stdout
    change = json.loads(diff)["reports/metrics.json"]["best.tiny.demo_sentiment.low.b_v"]
    assert (change["old"], change["new"]) == (pytest.approx(best, abs=1e-6), 0.25)
    call(project, "dvc", "plots", "show", "-o", "plots")
    page = (project / "plots" / "index.html").read_text()
    for text in ("Metric of every run", "Rank of every term", runs(project)["digest"]["b_v"]):
        assert text in page


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
    assert not (clone / "data").exists()
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
    train = project / "beft" / "train.py"
    text = train.read_text()
    assert 'f"{seed}/{epoch}/{step}"' in text
    train.write_text(text.replace('f"{seed}/{epoch}/{step}"', 'f"{seed}+{epoch}+{step}"'))
    lock = (project / "dvc.lock").read_bytes()
    done = call(project, "dvc", "repro", check=False)
    assert done.returncode != 0
    assert "the code that decides numbers was edited" in done.stdout + done.stderr
    assert (project / "dvc.lock").read_bytes() == lock
    version = numerics.RECIPE_VERSION
    recipe = project / "beft" / "recipe.py"
    text = recipe.read_text()
    assert f"RECIPE_VERSION = {version} " in text
    recipe.write_text(
        text.replace(f"RECIPE_VERSION = {version} ", f"RECIPE_VERSION = {version + 1} ")
    )
    sandbox.run(project, "beft", "verify", "--accept-code")
    call(project, "dvc", "repro")
    assert (project / "dvc.lock").read_bytes() != lock
    one, two = runs(tracked)["digest"]["b_v"], runs(project)["digest"]["b_v"]
    assert one != two
    assert history(tracked)[one] != history(project)[two]
