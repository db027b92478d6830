"""`snakemake --logger lines`, used by `make demo`: a line per job, the log of one that failed."""

import importlib.util
import logging
import re

import pytest
from snakemake_interface_logger_plugins.common import LogEvent
from support import sandbox

PLUGIN = sandbox.ROOT / "workflow/logger/snakemake_logger_plugin_lines/__init__.py"


@pytest.fixture
def handler():
    spec = importlib.util.spec_from_file_location("lines", PLUGIN)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.LogHandler(None, None)


def send(handler, event, **facts) -> None:
    level = facts.pop("level", logging.INFO)
    handler.emit(logging.makeLogRecord({"event": event, "levelno": level, **facts}))


def start(handler, log) -> None:
    send(handler, LogEvent.RUN_INFO, stats={"total": 12, "train": 12})
    wildcards = {"model": "tiny", "task": "sst2", "digest": "feed"}
    names = {"rule_name": "train", "wildcards": wildcards, "log": [str(log)]}
    send(handler, LogEvent.JOB_INFO, jobid=7, **names)


def test_a_finished_job_is_one_line_with_what_and_how_long(handler, tmp_path, capsys):
    start(handler, tmp_path / "log")
    send(handler, None, msg="Select jobs to execute...")
    send(handler, LogEvent.JOB_FINISHED, job_id=7)
    said = capsys.readouterr()
    assert re.fullmatch(r"\[ 1/12\] train tiny sst2 +0\.\d s\n", said.err) and not said.out


def test_a_failed_job_shows_its_log_and_warnings_are_kept(handler, tmp_path, capsys):
    (tmp_path / "log").write_text("beft: no such task\n")
    start(handler, tmp_path / "log")
    send(handler, LogEvent.JOB_ERROR, jobid=7)
    send(handler, None, msg="disk is slow", level=logging.WARNING)
    first, *rest = capsys.readouterr().err.splitlines()
    assert first.startswith("[ 0/12] train tiny sst2 ") and "failed after" in first
    assert rest == ["beft: no such task", "disk is slow"]


def test_make_demo_uses_it():
    said = (sandbox.ROOT / "Makefile").read_text()
    folder = PLUGIN.parents[1].relative_to(sandbox.ROOT)
    assert f"PYTHONPATH={folder} snakemake" in said and "--logger lines" in said
