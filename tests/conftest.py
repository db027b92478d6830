"""What all tests share: the real datasets and checkpoints, where they are, and the order of tests.

The tests that take longest come first, so that all workers end together.
"""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from support import forked

# One thread for each worker: several that share cores would spend their time waiting.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent
# One worker each, since a machine can have one SLURM, and since tests share a browser's pages.
ONE_WORKER = ("tests/slurm", "tests/browser")
# Files whose tests share what one of them makes.
ONE_BY_ONE = ("tests/workflow/test_fetch_paper.py", "tests/e2e/test_tune.py")
FIRST = ("tests/slurm", "tests/e2e", "tests/workflow", "tests/failures", "tests/browser")


@pytest.fixture(scope="session")
def mirror() -> Path:
    """The folder of real datasets and checkpoints; a test that asks for it is skipped without."""
    folder = Path(os.environ.get("BEFT_MIRROR") or ROOT.parent / "shared" / "mirror")
    if not (folder / "datasets").is_dir():
        pytest.skip(f"no mirror of real data at {folder}")
    return folder


@pytest.hookimpl(wrapper=True)
def pytest_cmdline_main(config):
    """All workers share a launcher of commands, whose folder is named before they start."""
    if forked.FOLDER in os.environ:
        return (yield)
    # A socket's path must be short, and the launcher may end a moment later than this process.
    with TemporaryDirectory(prefix="beft-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        os.environ[forked.FOLDER] = folder
        return (yield)


def pytest_collection_modifyitems(items):
    def rank(item) -> int:
        folders = (i for i, name in enumerate(FIRST) if item.nodeid.startswith(f"{name}/"))
        return next(folders, len(FIRST))

    items.sort(key=rank)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Workers take whole folders, single long tests, and unit tests by the file."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduler(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            folder = "/".join(nodeid.split("/")[:2])
            if folder in ONE_WORKER:
                return folder
            file = nodeid.partition("::")[0]
            return file if folder == "tests/unit" or file in ONE_BY_ONE else nodeid

    config.option.loadscopereorder = False
    return Scheduler(config, log)
