"""The command line: help, exit codes, and what a command imports."""

import inspect
import json
import subprocess
import sys

import pytest
import typer
from support import sandbox

from beft.cli import app
from beft.errors import UserError

HEAVY = ("torch", "transformers", "datasets", "matplotlib", "pandas")
# Python imports a module of this name at its start. It notes which heavy libraries the project
# imports itself, also where snakemake or one of its plugins has imported them before.
WATCH = f"""
import atexit, builtins, sys
found, plain = set(), builtins.__import__

def watched(name, *rest, **named):
    library, frame = name.partition(".")[0], sys._getframe(1)
    while library in {HEAVY} and frame:
        if "/beft/" in frame.f_code.co_filename or frame.f_code.co_filename.endswith(".smk"):
            found.add(library)
        frame = frame.f_back
    return plain(name, *rest, **named)

builtins.__import__ = watched
atexit.register(lambda: print("heavy:", *sorted(found), file=sys.stderr))
"""
COMMANDS = [command for group in app.GROUPS.values() for command in group]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = sandbox.make(tmp_path_factory.mktemp("project"))
    (folder / "watch").mkdir()
    (folder / "watch" / "sitecustomize.py").write_text(WATCH)
    return folder


def imported(folder, *command: str) -> list[str]:
    """The heavy libraries that the project's code imports while a command runs."""
    variables = sandbox.environment(PYTHONPATH=str(folder / "watch"))
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("heavy:")]
    return line.split()[1:]


@pytest.mark.parametrize("command", [("beft", "--help"), ("beft", "plan"), ("snakemake", "-n")])
def test_commands_that_compute_nothing_import_no_heavy_library(project, command):
    assert imported(project, *command) == []


def test_imports_are_watched(project):
    code = "from beft.report.frames import schema"
    assert "pandas" in imported(project, sys.executable, "-c", code)


def test_help_imports_nothing_that_reads_settings():
    code = (
        "import sys\nfrom beft.cli.app import main\nsys.argv[1:] = ['--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(sorted({'pydantic', 'yaml', 'numpy', 'pyarrow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("\n[]\n") and "subsample" in done.stdout


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__)
def test_every_command_and_option_has_a_help_text(command):
    assert inspect.getdoc(command)
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        (info,) = parameter.annotation.__metadata__
        assert info.help and info.help.endswith((".", "path.")), parameter.name


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (UserError("a:\n  b"), 2, "beft: a: b\n"),
        (PermissionError(13, "Permission denied", "x.csv"), 2, "beft: x.csv: Permission denied\n"),
        (typer.BadParameter("not a number"), 2, "beft: Invalid value: not a number\n"),
        (typer.Abort(), 130, ""),
    ],
    ids=lambda value: type(value).__name__,
)
def test_errors_that_a_user_can_fix_are_one_line(monkeypatch, capsys, error, status, line):
    assert ended(monkeypatch, error) == status
    assert capsys.readouterr().err == line


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["plan", "--study", ""], "--study"),
        (["tabulate", "--reports="], "--reports"),
        (["train", ""], "an argument"),
    ],
)
def test_an_empty_argument_is_refused_in_one_line(monkeypatch, capsys, arguments, name):
    monkeypatch.setattr("sys.argv", ["beft", *arguments])
    with pytest.raises(SystemExit) as end:
        app.main()
    assert end.value.code == 2
    assert capsys.readouterr().err == (
        f"beft: {name} is empty; give a value (is a variable of the shell not set?)\n"
    )


@pytest.mark.parametrize("error", [ZeroDivisionError(), FileNotFoundError(2, "none", "x")])
def test_any_other_error_is_raised(monkeypatch, error):
    with pytest.raises(type(error)):
        ended(monkeypatch, error)


def ended(monkeypatch, error: Exception) -> int | str | None:
    """The exit status of a command that raises an error."""

    def broken(*arguments: object, **settings: object) -> None:
        raise error

    monkeypatch.setattr(app, "app", broken)
    with pytest.raises(SystemExit) as end:
        app.main()
    return end.value.code


@pytest.mark.parametrize(
    ("streams", "status"),
    [
        *((">&-", 0), ("2>&-", 0), ("<&- >&- 2>&-", 0), ("2>/dev/full", 0)),
        *((">/dev/full", 2), (">/dev/full 2>&1", 2), ("| true", 1)),
    ],
)
def test_output_that_nobody_takes(project, streams, status):
    """Closed streams are empty ones; a full disk and a reader that has gone are errors."""
    command = f"set -o pipefail; beft plan {streams}"
    done = sandbox.run(project, "bash", "-c", command, check=False, real=True)
    assert done.returncode == status
    assert done.stderr == (
        "beft: output: No space left on device\n" if streams == ">/dev/full" else ""
    )


def test_files_do_not_get_the_number_of_a_closed_stream(project):
    """The schemas are written whole, and nothing but them."""
    sandbox.run(project, "bash", "-c", "beft schema schemas >&- 2>&- <&-", real=True)
    for name in ("params", "study", "union"):
        schema = json.loads((project / "schemas" / f"{name}.schema.json").read_text())
        assert schema["type"] == "object"
