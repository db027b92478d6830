"""Reports of another time, from folders and real git repositories, and the command on them."""

import subprocess

import pytest
from support import sandbox

from beft.errors import UserError
from beft.report.compare.revisions import open_reports
from beft.report.frames import schema as F

WHO = ["-c", "user.name=n", "-c", "user.email=e@x"]


def git(folder, *words: str) -> None:
    environment = sandbox.environment(GIT_CONFIG_GLOBAL="/dev/null", GIT_CONFIG_SYSTEM="/dev/null")
    subprocess.run(["git", *WHO, *words], cwd=folder, check=True, env=environment)


def beft(folder, *words: str):
    return sandbox.run(folder, "beft", "compare", *words, check=False)


@pytest.fixture
def repository(tmp_path, make, monkeypatch):
    """A repository with reports in two commits, the second one with other numbers."""
    git(tmp_path, "init", "-q", "-b", "main")
    for seed in (0, 1):
        frames = make(tasks=("sst2",), regimes=("low",), seed=seed)
        F.write(frames, tmp_path / "reports")
        git(tmp_path, "add", "-A")
        git(tmp_path, "commit", "-qm", f"run {seed}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_revision_holds_what_its_folder_held(repository):
    old, new = open_reports("HEAD~1"), open_reports("reports")
    assert not old.frames.runs["best"].equals(new.frames.runs["best"])
    git(repository, "checkout", "-q", "HEAD~1")
    assert open_reports("reports").frames.runs.equals(old.frames.runs)
    assert old.lacking == ()


def test_a_folder_goes_before_a_revision_of_that_name(repository):
    git(repository, "branch", "reports", "HEAD~1")
    assert open_reports("reports").frames.runs.equals(F.read(repository / "reports").runs)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", "neither a folder nor a revision"),
        ("--output=x", "neither a folder nor a revision"),
        ("HEAD; touch x", "neither a folder nor a revision"),
        ("HEAD:reports", "neither a folder nor a revision"),
        ("empty", "holds no runs.csv"),
        ("before", "holds no reports/"),
    ],
)
def test_what_are_no_reports_is_said_in_one_line(repository, name, message):
    (repository / "empty").mkdir()
    git(repository, "checkout", "-q", "--orphan", "before")
    git(repository, "commit", "-q", "--allow-empty", "-m", "nothing")
    git(repository, "rm", "-rq", "--cached", ".")
    git(repository, "commit", "-q", "--allow-empty", "-m", "really nothing")
    with pytest.raises(UserError, match=message) as error:
        open_reports(name)
    assert str(error.value).startswith(name)
    assert "\n" not in str(error.value)
    assert not (repository / "x").exists()


def test_outside_a_repository_and_without_git(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(UserError, match="neither a folder nor a revision of a git repository"):
        open_reports("HEAD")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="git: not installed"):
        open_reports("HEAD")


def test_files_and_columns_that_older_reports_lack_are_named(repository):
    reports = repository / "reports"
    for name in ("intervals.csv", "evaluations.csv", "settings.json"):
        (reports / name).unlink()
    text = (reports / "scores.csv").read_text()
    (reports / "scores.csv").write_text(text.replace(",inert\n", ",dead\n"))
    found = open_reports("reports")
    assert set(found.lacking) == {
        "intervals.csv", "evaluations.csv", "settings.json", "scores.csv: inert"
    }  # fmt: skip
    assert found.frames.scores["inert"].isna().all()
    assert len(found.frames.runs) == len(open_reports("HEAD").frames.runs)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("runs.csv", (",status,", ",state,"), "runs.csv: the column 'status' is missing"),
        ("runs.csv", (",accuracy,0.", ",accuracy,zero"), "runs.csv, line 2: best: 'zero"),
        ("settings.json", ("{", "["), "settings.json: damaged"),
        ("scores.csv", ("model,", '"model,'), "scores.csv: damaged"),
    ],
)
def test_damaged_reports_are_said_to_be(repository, file, change, message):
    path = repository / "reports" / file
    path.write_text(path.read_text().replace(*change, 1))
    done = beft(repository, "HEAD", "reports")
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_command(repository):
    """Exit 0 whether anything differs or not; files by their suffix; any other is refused."""
    same = beft(repository, "HEAD")
    assert same.returncode == 0, same.stderr
    assert "nothing differs in 12 cells and 36 runs" in same.stdout
    moved = beft(repository, "HEAD~1", "HEAD", "--epoch", "last")
    assert moved.returncode == 0, moved.stderr
    assert "last epoch of each run" in moved.stdout
    for suffix, start in ((".md", "# A: HEAD\\~1, B: reports"), (".csv", "kind,finding,model,")):
        path = repository / f"moved{suffix}"
        done = beft(repository, "HEAD~1", "--to", str(path))
        assert done.returncode == 0, done.stderr
        assert path.read_text().startswith(start)
        assert "12 cells" in done.stdout
    refused = beft(repository, "HEAD~1", "--to", "moved.png")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert ".csv, .md, .tex" in refused.stderr
