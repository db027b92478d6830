"""Names that a shell would take for commands, given to a real SLURM; and jobs that it refuses."""

import os
import shutil
import sys
from pathlib import Path

import pytest
from conftest import QUICK, Site
from support import sandbox

HOSTILE = """it's "q" $(touch pwned) `touch pwned` ; touch pwned & x"""


@pytest.mark.parametrize("of", ["study", "folder"])
def test_names_that_shells_would_run_are_refused(running, fetched, tmp_path, of):
    folder = tmp_path / (HOSTILE if of == "folder" else "project")
    site = Site(Path(shutil.copytree(fetched, folder)), running)
    study = site.folder / "studies" / f"{HOSTILE}.yaml"
    shutil.copy(site.folder / "studies" / "mini.yaml", study)
    before = running.jobs()
    site.start(study="mini" if of == "folder" else str(study))
    assert site.master.wait(timeout=120) != 0
    said = [line for line in site.log().splitlines() if line.startswith("beft: ")]
    assert len(said) == 1 and of in said[0] and "may mean something to the shells" in said[0]
    assert running.jobs() == before and not list(tmp_path.rglob("pwned"))


def test_other_names_and_an_environment_that_is_not_activated(
    cluster, fetched, tmp_path, monkeypatch
):
    """Blanks and letters are names. Jobs find the `beft` beside the `snakemake` that was called.

    The home directory cannot be written, as docs/cluster.md has it.
    """
    site = Site(Path(shutil.copytree(fetched, tmp_path / "mein Projekt, größer@home")), cluster)
    study = site.folder / "studies" / "größer als mini.yaml"
    shutil.copy(site.folder / "studies" / "mini.yaml", study)
    sandbox.change(study, "training", to={"epochs": 1})
    caches = {"HOME": "/proc/none", "XDG_CACHE_HOME": str(tmp_path / "caches")}
    bare = sandbox.variables(site.folder) | {"PATH": os.defpath, **caches}
    monkeypatch.setattr(sandbox, "variables", lambda folder: bare)
    before = cluster.jobs()
    beside = str(Path(sys.executable).with_name("snakemake"))
    named = ("--config", "study=studies/größer als mini.yaml")
    site.start(beside, "--profile", "slurm", *named, *QUICK)
    site.finish()
    assert len(cluster.jobs().keys() - before) == 1


def test_a_job_that_no_partition_can_run_is_tried_once(running, fetched, tmp_path):
    site = Site(Path(shutil.copytree(fetched, tmp_path / "project")), running)
    before = running.jobs()
    usual = ("snakemake", "--profile", "slurm", "--config", "study=mini", *QUICK)
    site.start(*usual, "--set-resources", "train:gpu=99")
    assert site.master.wait(timeout=120) != 0
    log = site.log()
    assert log.count("SLURM refuses this job") == 1 and "Trying to restart" not in log
    assert "Requested node configuration is not available" in log
    assert "99 GPUs, 2000 MB of memory, 20 minutes" in log
    assert "slurm_partition" in log and "slurm/profile.yaml" in log
    assert len(running.jobs().keys() - before) == 1  # which SLURM lists as failed
