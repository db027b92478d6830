"""What the tests of failures share: a launcher of commands, which costs seconds to start."""

from collections.abc import Iterator

import pytest
from forked import Launcher


@pytest.fixture(scope="session")
def launcher() -> Iterator[Launcher]:
    started = Launcher()
    yield started
    started.close()
