"""Studies of made-up numbers, each made once; a test must not change them."""

from collections.abc import Callable

import pytest
from support import made_up_decoders, made_up_study
from support.frames_of import frames_of

from beft.report.frames.schema import Frames


@pytest.fixture(scope="session")
def make() -> Callable[..., Frames]:
    """Make a study of encoders from models, tasks and regimes."""
    return made_up_study.study


@pytest.fixture(scope="session")
def nothing() -> Frames:
    """A study without any run or score."""
    return frames_of({"study": "empty"})


@pytest.fixture(scope="session")
def frames() -> Frames:
    """Two encoders, three tasks, three regimes; some of the runs went wrong."""
    return made_up_study.study()


@pytest.fixture(scope="session")
def decoders() -> Callable[..., Frames]:
    """Make a study of decoders from the numbers of its runs."""
    return made_up_decoders.decoders


@pytest.fixture(scope="session")
def table5_study() -> Frames:
    """Two decoders, eleven tasks, seven techniques; one run failed."""
    return made_up_decoders.table5()
