"""Finished projects, made once for all workers and copied for each test that needs one."""

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support import sandbox

# A model of the mirror, so that nothing in the project says where the project lies.
PARAMS = sandbox.PARAMS | {"models": {"tiny": {"hub": "owner/tiny", "revision": "r1"}}}
STUDY = sandbox.STUDY | {"figures": ["figure1"], "tables": ["table1", "selection"]}


def _once(factory: pytest.TempPathFactory, name: str, build: Callable[[Path], None]) -> Path:
    """A folder that the first of all workers to ask for it builds."""
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    with (base / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not (base / f"{name}.built").exists():
            build(base / name)
            (base / f"{name}.built").touch()
    return base / name


def make(folder: Path, study: dict, params: dict = PARAMS) -> Path:
    """A project whose model lies in its own mirror."""
    sandbox.make(folder, params, study)
    mirror = folder / "data" / "mirror" / "models" / "owner"
    mirror.mkdir(parents=True)
    (folder / "models" / "tiny").rename(mirror / "tiny")
    return folder


def _finish(folder: Path) -> None:
    project = make(folder / "project", STUDY)
    for name, arguments in (("dry", ["-n"]), ("run", [])):
        done = sandbox.snakemake(project, *arguments)
        (folder / f"{name}.txt").write_text(done.stdout + done.stderr)


@pytest.fixture(scope="session")
def once() -> Callable:
    """`once(tmp_path_factory, name, build)`: a folder that is built once for all workers."""
    return _once


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """A finished `project`, not to be changed, and what snakemake said: dry.txt and run.txt."""
    return _once(tmp_path_factory, "finished", _finish)


@pytest.fixture
def project(finished, tmp_path) -> Path:
    """A copy of the finished project."""
    return Path(shutil.copytree(finished / "project", tmp_path / "project"))
