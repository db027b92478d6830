"""A tiny BERT on disk, and a copy of it that a test may damage."""

import shutil
from pathlib import Path

import pytest
from support import tiny


@pytest.fixture(scope="session")
def pristine(tmp_path_factory) -> Path:
    return tiny.checkpoint("bert", tmp_path_factory.mktemp("bert"))


@pytest.fixture
def bert(pristine, tmp_path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "bert"))
