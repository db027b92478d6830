"""What snakemake leaves behind on this machine, and that it is ended."""

import subprocess
import sys
import time

import pytest

from beft.operations import recover as R


@pytest.fixture
def inside(tmp_path):
    """Two processes named snakemake that take themselves for those of jobs, in two folders."""
    program = tmp_path / "snakemake"
    program.write_text("import time; print('ready', flush=True); time.sleep(600)")
    processes = []
    for name in ("mine", "others"):
        (tmp_path / name).mkdir()
        command = [sys.executable, str(program), "--mode", "remote"]
        processes.append(
            subprocess.Popen(command, cwd=tmp_path / name, stdout=subprocess.PIPE, text=True)
        )
        assert processes[-1].stdout.readline() == "ready\n"
    yield tmp_path / "mine", processes
    for process in processes:
        process.kill()
        process.communicate()


def test_what_a_job_left_is_ended(inside, monkeypatch):
    """It makes nothing any more, but would sleep on, since nobody waits for it."""
    root, (own, other) = inside
    said, called = [], []
    monkeypatch.setattr(R, "_snakemake", lambda root, *arguments: called.append(arguments))
    monkeypatch.setattr(R, "LOOK", 0.05)
    monkeypatch.setattr(R, "jobs", lambda root: [])
    assert R.snakemakes(root) == [] and R.snakemakes(root, in_jobs=True) == [own.pid]
    reap = R._terminate

    def terminate(numbers: list[str]) -> None:
        reap(numbers)
        own.wait(timeout=30)

    monkeypatch.setattr(R, "_terminate", terminate)
    began = time.monotonic()
    R.recover(root, True, said.append)
    assert own.returncode < 0 and other.poll() is None and time.monotonic() - began < 30
    assert f"{own.pid}" in said[0] and called == [("--unlock",)]
