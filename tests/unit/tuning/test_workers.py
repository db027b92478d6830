"""Processes that train are ended, whatever they are doing when the signal comes."""

import subprocess
import sys

import pytest

from beft.tuning import workers

# What a job does with a signal, as `training.pack` does: it notes it, looks at it after each step,
# and gives the next signal to whoever handled it before. This job had done its last step.
JOB = """
import signal, sys
noted = []
before = signal.signal(signal.SIGTERM, lambda number, frame: noted.append(number))
print('{"done": 1, "total": 1}', flush=True)
while not noted:
    signal.pause()
signal.signal(signal.SIGTERM, before)
print('{"trained": true}', flush=True)
for line in sys.stdin:
    pass
"""
DEAF = """
import signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('{"done": 1, "total": 1}', flush=True)
time.sleep(600)
"""


def started(monkeypatch, folder, program: str, count: int) -> workers.Workers:
    """Processes of another program, which have begun a job."""

    def start(self, command):
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self.log}
        return subprocess.Popen([sys.executable, "-c", program], **pipes, text=True)

    monkeypatch.setattr(workers.Workers, "_start", start)
    begun = workers.Workers(folder / "params.yaml", folder / "log.txt", count, "cpu")
    for process in begun.processes:
        assert process.stdout.readline()
    return begun


def test_a_signal_after_the_last_step_of_a_job_is_not_lost(monkeypatch, tmp_path):
    """The process would wait for its next job for ever, and its parent a minute for each."""
    monkeypatch.setattr(workers, "PATIENCE", 600)
    monkeypatch.setattr(workers, "AGAIN", 0.01)
    with started(monkeypatch, tmp_path, JOB, 2) as begun:
        pass
    assert [process.poll() is not None for process in begun.processes] == [True, True]


@pytest.mark.parametrize("count", [1, 3])
def test_a_process_that_does_not_end_is_killed(monkeypatch, tmp_path, count):
    monkeypatch.setattr(workers, "PATIENCE", 0.2)
    monkeypatch.setattr(workers, "AGAIN", 0.05)
    with started(monkeypatch, tmp_path, DEAF, count) as begun:
        pass
    assert all(process.returncode == -9 for process in begun.processes)
