"""`beft prune`: only what no study names goes, and only when somebody says yes."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import sandbox
from support.whole import STUDY, differences, made

from beft.study.project import load

TODAY, FORMER = "mini", "former"


@pytest.fixture(scope="module")
def crowded(tmp_path_factory) -> Path:
    """Runs of two studies: another seed and task in `former`, which was deleted meanwhile."""
    folder = made(tmp_path_factory.mktemp("crowded") / "project")
    former = STUDY | {"seeds": [0, 1], "tasks": ["demo_sentiment", "demo_similarity"]}
    sandbox.write(folder / "studies" / f"{FORMER}.yaml", former)
    sandbox.snakemake(folder, "--config", f"study={FORMER}")
    sandbox.snakemake(folder)
    return folder


@pytest.fixture
def project(crowded, tmp_path) -> Path:
    return Path(shutil.copytree(crowded, tmp_path / "project"))


def forget(project: Path) -> None:
    (project / "studies" / f"{FORMER}.yaml").unlink()


def data(project: Path) -> set[str]:
    return {name for name in sandbox.contents(project / "data") if not name.startswith("mirror")}


def leftovers(project: Path) -> list[Path]:
    """What killed and damaged things leave."""
    made = [
        project / "data" / "work" / f"{'0' * 16}.damaged" / "recipe.json",
        project / "data" / "work" / f"group-{'0' * 16}-{'1' * 16}" / "checkpoint.safetensors",
        project / "data" / "scores" / ".half.abcd_123.tmp",
        project / "reports" / ".runs.csv.abcd_123.tmp",
    ]
    for path in made:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return made


def test_only_what_no_study_names_goes(project):
    quiet = Path(shutil.copytree(project, project.with_name("quiet")))
    done = sandbox.beft(project, "prune", "--yes")
    assert done.status == 0 and "nothing to remove" in done.said
    assert differences(project, quiet) == [] and data(project) == data(quiet)
    forget(project)
    rubbish = leftovers(project)
    mirror = project / "data" / "mirror" / "datasets" / "own" / "kept.parquet"
    mirror.parent.mkdir(parents=True)
    mirror.touch()
    done = sandbox.beft(project, "prune", "--yes")
    assert done.status == 0, done.said
    assert not any(path.exists() for path in rubbish) and mirror.exists()
    named = load(project / "params.yaml")
    runs = {str(path.relative_to(project)) for path in project.glob("data/runs/*/*/*/*/*/*")}
    assert runs == {f"data/runs/{recipe.folder()}" for recipe in named.recipes}
    kept = data(project)
    assert {n for n in kept if n.startswith("packs/")} == {f"packs/{key}" for key in named.packs}
    assert {n for n in kept if n.startswith("scores/")} == {
        f"scores/{key}" for cell in named.cells.values() for key in cell.files()
    }
    assert {n for n in kept if n.startswith("subsets/")} == {f"subsets/{k}" for k in named.subsets}
    assert not [name for name in kept if "demo_similarity" in name]
    assert not [path for path in (project / "logs").rglob("*") if "demo_similarity" in str(path)]
    done = sandbox.snakemake(project)
    assert "Nothing to be done" in done.stderr
    assert sandbox.beft(project, "verify").status == 0
    assert "nothing to remove" in sandbox.beft(project, "prune", "--yes").said


STRANGERS = (
    "data/runs/tiny/demo_sentiment/low/b_v/seed-0/thesis/figure.pdf",
    "data/runs/tiny/demo_sentiment/low/b_v/seed-0/0123456789abcdef0/notes.txt",
    "data/runs/my/own/files/in/this/folder/notes.txt",
    "data/runs/notes.txt",
    "data/packs/tiny/demo_sentiment/low/table.xlsx",
    "data/packs/tiny/demo_sentiment/low/{digest}.csv",
    "data/scores/tiny/demo_sentiment/low/{digest}.xlsx",
    "data/subsets/demo_sentiment/low/seed-0/mine.parquet",
    "data/sources/demo_sentiment/raw/train.csv",
    "data/models/tiny/weights/model.safetensors",
    "data/timings/a/b/c/d",
    "data/work/thesis/chapter.tex",
    "data/work/.mine.tmp",
    "data/scores/.mine.tmp",
    "data/elsewhere/file",
    "logs/train/tiny/demo_sentiment/low/notes.log",
    "logs/mine.txt",
)


def test_what_others_put_there_stays(project):
    """Also beside what goes, and inside a run that no study names."""
    forget(project)
    gone = next(project.glob("data/runs/tiny/demo_similarity/*/*/*/*"))
    source = next(project.glob("data/sources/demo_similarity/*"))
    inside = [gone / "my notes.txt", source / "thesis" / "train.parquet"]
    placed = [project / name.format(digest="0" * 16) for name in STRANGERS] + inside
    for path in placed:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    done = sandbox.beft(project, "prune", "--yes")
    assert done.status == 0, done.said
    assert [path for path in placed if not path.exists()] == []
    assert "others" in done.said and "data/sources" in done.said
    for folder in (gone, source):  # with all that belongs to what they wrote in
        assert (folder / "checksums.json").is_file()
    left = {path.name for path in project.glob("data/runs/tiny/demo_similarity/*/*/*/*")}
    assert left == {gone.name}
    assert "nothing to remove" in sandbox.beft(project, "prune", "--yes").said


# "": there is nobody to ask
@pytest.mark.parametrize("answer", ["n\n", ""])
def test_no_means_no(project, answer):
    forget(project)
    leftovers(project)
    before = sandbox.marks(project)
    done = subprocess.run(
        ["beft", "prune"],
        cwd=project,
        env=sandbox.warm(project),
        input=answer,
        capture_output=True,
        text=True,
    )
    assert "tiny" in done.stdout and "demo_similarity" in done.stdout
    assert done.returncode == (0 if answer else 130)
    assert sandbox.marks(project) == before


def test_a_study_that_is_unclear_stops_it(project):
    forget(project)
    sandbox.write(project / "studies" / "broken.yaml", STUDY | {"tasks": ["demo_sentimnt"]})
    before = sandbox.marks(project)
    done = sandbox.beft(project, "prune", "--yes")
    assert done.status == 2
    assert "nothing is pruned" in done.line() and "demo_sentimnt" in done.line()
    assert "broken.yaml" in done.line()
    assert sandbox.marks(project) == before


@pytest.mark.parametrize("place", ["lost.yml", "Lost.YAML", "old/lost.yaml", "lost.yaml.bak"])
def test_what_may_be_a_study_stops_it(project, place):
    forget(project)
    sandbox.write(project / "studies" / place, STUDY)
    before = sandbox.marks(project)
    done = sandbox.beft(project, "prune", "--yes")
    assert done.status == 2
    assert "nothing is pruned" in done.line() and f"studies/{place} " in done.line()
    assert sandbox.marks(project) == before


def test_a_study_elsewhere_keeps_the_runs_that_it_was_trained_for(project):
    """As long as its file exists: the runs know where it lay."""
    there = project / "elsewhere" / "former.yaml"
    there.parent.mkdir()
    (project / "studies" / f"{FORMER}.yaml").rename(there)
    for path in project.glob("data/runs/*/*/*/*/*/*/provenance.json"):
        facts = json.loads(path.read_text())
        assert f"--study {FORMER} " in facts["command"] or "--study mini" in facts["command"]
        facts["command"] = facts["command"].replace(FORMER, "elsewhere/former.yaml")
        path.write_text(json.dumps(facts))
    assert "nothing to remove" in sandbox.beft(project, "prune", "--yes").said
    there.write_text("models: [")
    done = sandbox.beft(project, "prune", "--yes")
    assert done.status == 2 and "'elsewhere/former.yaml' is unclear" in done.line()
    there.unlink()
    assert sandbox.beft(project, "prune", "--yes").status == 0
    assert not [name for name in data(project) if "demo_similarity" in name]


def test_links_are_left_alone_with_what_lies_behind_them(project):
    """Also where everything behind them looks like what no study names."""
    forget(project)
    away = project.parent / "away"
    away.mkdir()
    (project / "data" / "runs").rename(away / "runs")
    links = {
        "data/runs": away / "runs",
        "data/sources/thesis": away / "important",
        "data/subsets/thesis": away / "important",
        "data/scores/tiny/thesis": away / "important",
        "data/work/thesis": away / "important",
        "data/packs/thesis": away / "nowhere",
        "logs/train": away / "logs",
        "logs/score/thesis": away / "important",
        "reports": away / "reports",
    }
    for name in ("important/low/seed-0", "logs", "reports"):
        (away / name).mkdir(parents=True)
        for file in ("0" * 16, ".x.tmp", "lock.1"):
            (away / name / file).touch()
    for name, target in links.items():
        path = project / name
        if path.exists():
            shutil.rmtree(path)
        path.symlink_to(target)
    before = sandbox.marks(away)
    done = sandbox.beft(project, "prune", "--yes")
    assert done.status == 0, done.said
    assert sandbox.marks(away) == before
    for name, target in links.items():
        assert (project / name).readlink() == target
        assert name in done.said
    assert not [name for name in data(project) if "demo_similarity" in name]
    assert "nothing to remove" in sandbox.beft(project, "prune", "--yes").said


@pytest.mark.parametrize("name", ["data", "data/work"])
def test_what_others_may_share_is_not_pruned(project, name):
    forget(project)
    (project / name).rename(project.parent / "shared")
    (project / name).symlink_to(project.parent / "shared")
    before = sandbox.marks(project.parent / "shared")
    done = sandbox.beft(project, "prune", "--yes")
    assert done.status == 2 and f"{name}: a link, so others may share it" in done.line()
    assert sandbox.marks(project.parent / "shared") == before


def test_what_is_being_trained_is_left_alone(project):
    """Unnamed runs that somebody trains stop it, named ones stay with their checkpoint."""
    gone = load(project / "params.yaml", FORMER).recipes
    forget(project)
    kept = {recipe.digest for recipe in load(project / "params.yaml").recipes}
    for digest in (next(r.digest for r in gone if r.digest not in kept), min(kept)):
        work = project / "data" / "work" / digest
        with holding(work):
            before = sandbox.contents(project / "data")
            done = sandbox.beft(project, "prune", "--yes")
            if digest in kept:
                assert done.status == 0 and (work / "lock.1").exists()
            else:
                assert done.status == 2 and str(work) in done.line() and "process" in done.line()
                assert sandbox.contents(project / "data").keys() == before.keys()
    assert not [name for name in data(project) if "demo_similarity" in name]


class holding:
    """Another process that holds a run."""

    CODE = (
        "import sys; from pathlib import Path; from beft.store.locks import lock\n"
        "with lock(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )

    def __init__(self, work: Path):
        command = [sys.executable, "-c", self.CODE, str(work)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)

    def __enter__(self) -> None:
        assert self.process.stdout.readline() == "held\n"

    def __exit__(self, *_) -> None:
        self.process.communicate()
