"""What the tests of failures share: a launcher of commands, which costs seconds to start."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from support.forked import Launcher


@pytest.fixture(scope="session")
def launcher() -> Iterator[Launcher]:
    with TemporaryDirectory() as folder:  # a socket's address must be short
        started = Launcher(Path(folder))
        yield started
        started.close()
