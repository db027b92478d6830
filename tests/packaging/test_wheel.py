"""The wheel: its dependencies, its files, and that it works outside the clone, offline."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from zipfile import ZipFile

import pytest
from support import sandbox

PROJECT = tomllib.loads((sandbox.ROOT / "pyproject.toml").read_text())["project"]
SOURCES = ("beft", "pyproject.toml", "README.md", "LICENSE")


def run(folder: Path, *command: str, **variables: str) -> str:
    done = subprocess.run(
        command, cwd=folder, env=os.environ | variables, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy, so that the clone gets no build folder, by the setuptools that is here."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        source = sandbox.ROOT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, folder / "source" / name, ignore=ignored)
        else:
            shutil.copy(source, folder / "source")
    command = ("-m", "build", "--no-isolation", "--wheel", "--outdir", str(folder))
    run(folder / "source", sys.executable, *command)
    (made,) = folder.glob("beft-*.whl")
    return made


def test_every_file_of_the_package_is_in_the_wheel(wheel):
    package = sandbox.ROOT / "beft"
    files = {
        f"beft/{path.relative_to(package).as_posix()}"
        for path in package.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert {Path(name).suffix for name in files} >= {".py", ".csv", ".css", ".js", ".j2", ".json"}
    with ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        licences = [name for name in archive.namelist() if name.endswith("licenses/LICENSE")]
    assert names == files
    assert len(licences) == 1


def test_the_command_works_outside_the_clone(wheel, tmp_path):
    """From a folder that holds the wheel's files alone, with this environment's libraries."""
    with ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
        (entry,) = [n for n in archive.namelist() if n.endswith("entry_points.txt")]
        assert "beft = beft.cli.app:main" in archive.read(entry).decode()
    code = "import beft, sys; from beft.cli.app import main; print(beft.__file__); "
    code += "sys.argv = ['beft', '--help']; main()"
    said = run(tmp_path, sys.executable, "-c", code, PYTHONPATH=str(tmp_path / "installed"))
    assert said.startswith(str(tmp_path / "installed"))
    assert "plan" in said and "verify" in said


def test_base_dependencies_are_what_the_library_needs():
    found = set()
    for path in (sandbox.ROOT / "beft").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add(node.module.partition(".")[0])
    imported = found - set(sys.stdlib_module_names) - {"beft"}
    owners = packages_distributions()
    needed = {plain(name) for module in imported for name in owners[module]}
    stated = {plain(re.match(r"[\w.-]+", line)[0]) for line in PROJECT["dependencies"]}
    # Tokenizers that are a sentencepiece model alone: transformers imports these two.
    assert needed | {"sentencepiece", "protobuf"} == stated


def plain(name: str) -> str:
    """A distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()
