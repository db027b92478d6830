"""What all tests share: the real datasets and checkpoints, where they are."""

import os
from pathlib import Path

import pytest

# One thread for each worker: several that share cores would spend their time waiting.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def mirror() -> Path:
    """The folder of real datasets and checkpoints; a test that asks for it is skipped without."""
    folder = Path(os.environ.get("BEFT_MIRROR") or ROOT.parent / "shared" / "mirror")
    if not (folder / "datasets").is_dir():
        pytest.skip(f"no mirror of real data at {folder}")
    return folder


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Tests on the cluster go to one worker, since a machine can have only one; others anywhere.

    So do those in the browser, which share it and its pages.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Scheduler(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            folder = "/".join(nodeid.split("/")[:2])
            return folder if folder in ("tests/slurm", "tests/browser") else nodeid

    return Scheduler(config, log)
