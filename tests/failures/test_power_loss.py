"""Files that are empty, cut off or full of zeros after a power loss: named, repaired, as before."""

import random
import shutil
from pathlib import Path

import pytest
from support import sandbox
from support.whole import differences, made

from beft import code_identity
from beft.operations.verify import problems
from beft.store import accepted_code
from beft.study.project import load

DAMAGE = (
    lambda content: b"",
    lambda content: content[: len(content) // 2],
    lambda content: bytes(len(content)),
)
REPORTS = {"collect", "tabulate", "plot", "page"}
# What each kind's damage makes snakemake do again: what was damaged, and all that is made from it.
# A job of `train` looks at its runs again, and trains none that is sound.
JOBS = {
    "sources": {"fetch", "subsample", "train", "score"} | REPORTS,
    "subsets": {"subsample", "train", "score"} | REPORTS,
    "models": set(),  # asked for when something is to be trained
    "packs": {"train", "score"} | REPORTS,
    "runs": {"train", "score"} | REPORTS,
    "scores": {"score"} | REPORTS,
    "collected": REPORTS,
    "reports": {"page"},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A finished project whose model lies in its own mirror."""
    folder = made(tmp_path_factory.mktemp("finished") / "project")
    mirror = folder / "data" / "mirror" / "models" / "own"
    mirror.mkdir(parents=True)
    (folder / "models" / "tiny").rename(mirror / "tiny")
    model = {"hub": "own/tiny", "revision": "1"}
    sandbox.change(folder / "params.yaml", "models", "tiny", to=model)
    sandbox.snakemake(folder)
    return folder


@pytest.fixture
def project(finished, tmp_path) -> Path:
    """A copy of the finished project."""
    return Path(shutil.copytree(finished, tmp_path / "project"))


def files(project: Path, kind: str) -> list[Path]:
    folder = project / kind if kind == "reports" else project / "data" / kind
    return sorted(path for path in folder.rglob("*") if path.is_file())


def damage(path: Path, chance: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(chance.choice(DAMAGE)(content) if content else b"\0")


def is_named(path: Path, said: list[str]) -> bool:
    """Whether a line names the file, or its folder and what it is called there.

    Where checksums are damaged, nothing tells which of the files beside them are sound.
    """
    folder, names = str(path.parent), (path.name, "checksums.json")
    return any(
        str(path) in line or (folder in line and any(name in line for name in names))
        for line in said
    )


def named(project: Path) -> list[str]:
    """What is said to be wrong with a project."""
    return [problem.line for problem in problems(load(project / "params.yaml"))]


@pytest.mark.parametrize("kind", [*(kind for kind in JOBS if kind != "reports"), "mirror"])
def test_every_damaged_file_is_named(project, monkeypatch, kind):
    """One after the other, each in turn empty, cut off and full of zeros."""
    monkeypatch.setattr(accepted_code, "accepted", lambda: [code_identity.code_digest()])
    assert named(project) == []
    for path in files(project, kind):
        content = path.read_bytes()
        for act in DAMAGE if kind in ("packs", "models", "collected") else DAMAGE[:2]:
            path.write_bytes(act(content))
            said = named(project)
            assert is_named(path, said), (path, said)
        path.write_bytes(content)


@pytest.mark.parametrize("act", DAMAGE[:2])
def test_every_damaged_file_of_the_reports_is_named(project, monkeypatch, act):
    """All at once, since what they should hold is computed anew each time; then their checksums."""
    monkeypatch.setattr(accepted_code, "accepted", lambda: [code_identity.code_digest()])
    checksums = project / "reports" / "checksums.json"
    paths = [path for path in files(project, "reports") if path != checksums]
    contents = {path: path.read_bytes() for path in [*paths, checksums]}
    for path in paths:
        path.write_bytes(act(contents[path]))
    said = named(project)
    assert [path for path in paths if not any(str(path) in line for line in said)] == []
    for path in paths:
        path.write_bytes(contents[path])
    checksums.write_bytes(act(contents[checksums]))
    assert is_named(checksums, named(project))
    checksums.write_bytes(contents[checksums])
    assert named(project) == []


def repaired(project: Path) -> set[str]:
    """Repairs a project and returns the rules that snakemake then ran."""
    done = sandbox.beft(project, "verify", "--repair")
    assert done.status == 0 and "will be made again" in done.said, done.said
    rules = {rule for rule, _ in sandbox.jobs(sandbox.snakemake(project))}
    done = sandbox.beft(project, "verify")
    assert done.status == 0, done.said
    return rules - {"all"}


@pytest.mark.parametrize("kind", JOBS)
def test_a_repair_redoes_what_was_damaged(finished, project, kind):
    chance = random.Random(kind)
    path = chance.choice(files(project, kind))
    kept = sandbox.marks(project / "data" / "runs")
    damage(path, chance)
    assert is_named(path, sandbox.beft(project, "verify").said.splitlines())
    rules = repaired(project)
    if kind == "models":
        assert sandbox.beft(project, "fetch").status == 0
    if kind == "reports":  # depends on which of them it was
        assert JOBS[kind] <= rules <= REPORTS, (path, rules)
    else:
        assert rules == JOBS[kind], (path, rules)
    assert differences(project, finished) == []
    now = sandbox.marks(project / "data" / "runs")
    hurt = str(path.parent.relative_to(project / "data" / "runs")) if kind == "runs" else None
    assert {name for name in kept if now[name] != kept[name]} == {
        name for name in kept if str(Path(name).parent) == hurt
    }


@pytest.mark.parametrize("seed", range(2))
def test_many_files_at_once(finished, project, seed):
    chance = random.Random(seed)
    places = [path for kind in JOBS for path in files(project, kind)]
    # Without these, nothing tells which of the other reports are sound, and all are made again.
    places.remove(project / "reports" / "checksums.json")
    hurt = chance.sample(places, 12)
    for path in hurt:
        damage(path, chance)
    said = sandbox.beft(project, "verify").said.splitlines()
    assert [path for path in hurt if not is_named(path, said)] == []
    repaired(project)
    assert differences(project, finished) == []


def test_a_damaged_model_is_set_aside_and_asked_for(finished, project):
    place = "data/mirror/models/own/tiny"
    damage(project / place / "model.safetensors", random.Random(0))
    assert "model.safetensors: not what was fetched" in sandbox.beft(project, "verify").said
    assert sandbox.beft(project, "verify", "--repair").status == 0
    sandbox.change(project / "studies" / "mini.yaml", "seeds", to=[0, 1])
    done = sandbox.snakemake(project, "runs", check=False)
    assert done.returncode != 0 and "is not in the mirror" in done.stdout + done.stderr
    shutil.copytree(finished / place, project / place)
    rules = {rule for rule, _ in sandbox.jobs(sandbox.snakemake(project, "runs"))}
    # the other rows may have been drawn before the first call came upon the model
    assert rules | {"subsample"} == {"fetch_model", "subsample", "train", "runs"}


def test_a_damaged_checkpoint_is_not_gone_on_with(finished, project):
    """Stopped, its checkpoint damaged anyhow, and started again: said, and begun anew."""
    sandbox.change(project / "params.yaml", "tasks", "demo_sentiment", "epochs", to=3)
    manifest = f"data/packs/{next(iter(load(project / 'params.yaml').packs))}"
    command = ("train", "--checkpoint-seconds", "0", manifest)
    whole = Path(shutil.copytree(project, project.with_name("whole")))
    assert sandbox.beft(whole, *command).status == 0
    watch = ("support.moments.watch", str(project.with_name("journal.txt")), "step", 4, 1)
    assert sandbox.beft(project, *command, plant=watch).status == -9
    (checkpoint,) = project.glob("data/work/group-*/checkpoint.safetensors")
    content = checkpoint.read_bytes()
    flipped = content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]  # within a tensor
    for damaged in (*(act(content) for act in DAMAGE), flipped):
        started = Path(shutil.copytree(project, project.with_name("started")))
        (started / checkpoint.relative_to(project)).write_bytes(damaged)
        done = sandbox.beft(started, *command)
        assert done.status == 0, done.said
        assert "checkpoint.safetensors: not usable" in done.said and "resumed" not in done.said
        assert differences(started, whole) == []
        shutil.rmtree(started)
    assert "resumed after epoch" in sandbox.beft(project, *command).said


def test_damaged_records_of_snakemake_hide_nothing(finished, project):
    """What is unchanged stays, and what changed is still noticed: it is in the paths."""
    chance = random.Random(5)
    records = sorted((project / ".snakemake" / "metadata").rglob("*"))
    for path in records:
        if path.is_file():
            damage(path, chance)
    rules = {rule for rule, _ in sandbox.jobs(sandbox.snakemake(project))}
    assert not rules & {"fetch", "fetch_model", "subsample", "train"}
    assert differences(project, finished) == []
    sandbox.change(project / "params.yaml", "tasks", "demo_sentiment", "learning_rate", to=0.02)
    rules = {rule for rule, _ in sandbox.jobs(sandbox.snakemake(project))}
    assert rules == {"train", "score", "collect", "tabulate", "plot", "page", "all"}
    assert sandbox.beft(project, "verify").status == 0
    assert "0.02" in (project / "reports" / "runs.csv").read_text()
