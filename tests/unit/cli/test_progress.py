"""Progress in a log: a line every ten seconds for each job, with the time that is left."""

from types import SimpleNamespace

import pytest

from beft.cli import progress


@pytest.fixture
def clock(monkeypatch):
    """The monotonic clock, as a list with one time that tests change."""
    now = [0.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


@pytest.fixture(autouse=True)
def logged(caplog):
    caplog.set_level("INFO", "beft")


def test_a_log_gets_a_line_every_ten_seconds(clock, caplog):
    with progress.Progress() as shown:
        for second in range(0, 31, 5):
            clock[0] = second
            shown.update("m/t/low", second, 100, f"epoch: step {second}")
    assert caplog.messages == [
        "m/t/low epoch: step 10 (10 %, about 90 s left)",
        "m/t/low epoch: step 20 (20 %, about 80 s left)",
        "m/t/low epoch: step 30 (30 %, about 70 s left)",
    ]


def test_bytes_are_counted_in_gigabytes_and_jobs_apart(clock, caplog):
    with progress.Progress(of_bytes=True) as shown:
        for second, done in ((0, 0), (10, 10**9), (20, 3 * 10**9)):
            clock[0] = second
            shown.update("models.m", done, 4 * 10**9, "fetching")
        shown.update("tasks.t", 0, 0, "fetching")
        clock[0] = 30
        shown.update("tasks.t", 0, 0, "fetching")
    assert caplog.messages == [
        "models.m fetching (1.000 of 4.000 GB, about 30 s left)",
        "models.m fetching (3.000 of 4.000 GB, about 5 s left)",
        "tasks.t fetching (0.000 of 0.000 GB)",
    ]


def test_steps_that_take_long_are_measured_over_several_lines(clock, caplog):
    """The speed of the last line would be zero."""
    with progress.Progress() as shown:
        for second, done in ((0, 0), (10, 0), (20, 1)):
            clock[0] = second
            shown.update("cell", done, 3, "training")
    assert caplog.messages == ["cell training (0 %)", "cell training (33 %, about 40 s left)"]


def test_a_new_phase_is_measured_anew(clock, caplog):
    with progress.Progress() as shown:
        for second, done, text in ((0, 0, "a: x"), (9, 9, "b: x"), (10, 0, "b: y"), (15, 9, "b")):
            clock[0] = second
            shown.update("cell", done, 10, text)
    assert caplog.messages == ["cell b: y (0 %)"]
