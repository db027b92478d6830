"""The workflow on a cluster where nothing goes wrong: the demo study, cut short."""

import json
import re
import shutil
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest
import yaml
from conftest import Site
from support import sandbox

from beft.study.project import load

FILES = ("params.yaml", "studies/demo.yaml", "Snakefile", "workflow", "profiles", "slurm")


@pytest.fixture(scope="module")
def demo(running, tmp_path_factory) -> Site:
    """The demo study with 16 examples and one epoch, run on the cluster; its log has a dry run."""
    folder = tmp_path_factory.mktemp("demo") / "project"
    for name in FILES:
        source, target = sandbox.ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copyfile(source, target)
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["execution"] |= {"memory_mb": 3000, "runtime_minutes": 30}
    for name, task in params["tasks"].items():
        if name.startswith("demo_"):
            for settings in filter(None, (task, task.get("decoder"))):
                settings |= {"regimes": {"low": 16}, "epochs": 1}
                settings.get("techniques", {}).pop("full", None)
    sandbox.write(folder / "params.yaml", params)
    path = folder / "studies" / "demo.yaml"
    study = yaml.safe_load(path.read_text())
    for part in (study, *study["also"]):
        part |= {"regimes": ["low"]} if "regimes" in part else {}
    for pair in study["merging"]:
        pair["regime"] = "low"
    sandbox.write(path, study)
    site = Site(folder, running)
    # nothing that is submitted need be a new process: none is sent a signal
    usual = ("snakemake", "--profile", "slurm", "--config", "study=demo")
    site.dry = sandbox.run(folder, *usual, "-n")
    site.start(*usual, "--slurm-init-seconds-before-status-checks", "1", real=False)
    site.finish(seconds=900)
    return site


def provenance(site: Site) -> list[dict]:
    found = (site.folder / "data" / "runs").glob("**/provenance.json")
    return [json.loads(path.read_text()) for path in found]


def test_it_ends_with_a_report_and_every_number_is_true(demo):
    project = load(demo.folder / "params.yaml", "demo")
    assert len(project.packs) == 9
    sandbox.run(demo.folder, "beft", "verify", "--study", "demo")
    page = (demo.folder / "reports" / "index.html").read_text()
    assert "demo_sentiment" in page
    runs = (demo.folder / "reports" / "runs.csv").read_text().splitlines()
    assert len(runs) == len(project.recipes) + 1
    again = sandbox.run(demo.folder, "snakemake", "--profile", "slurm", "--config", "study=demo")
    assert "Nothing to be done" in again.stdout + again.stderr


def test_what_ran_is_what_the_dry_run_listed(demo):
    def jobs(said: str) -> Counter:
        table = re.search(r"^job +count\n-+  -+\n(.*?)\n\n", said, re.M | re.S).group(1)
        return Counter({name: int(count) for name, count in map(str.split, table.splitlines())})

    def ran(said: str) -> Counter:
        return Counter(re.findall(r"^Finished jobid: \d+ \(Rule: (\w+)\)", said, re.M))

    listed = jobs(demo.dry.stdout + demo.dry.stderr)
    assert listed.pop("total") == listed.total() > 20
    assert ran(demo.log()) == listed
    assert sum(listed[rule] for rule in ("train", "time", "merge")) == len(demo.cluster_jobs())


def test_every_job_has_a_gpu_to_itself(demo):
    jobs = {number: demo.cluster.show(number) for number in demo.cluster_jobs()}
    assert all(job["TresPerJob"] == "gres:gpu:1" for job in jobs.values())
    devices = {p["job"]: p["visible_gpus"] for p in provenance(demo)}
    assert len(jobs) == len(devices) + 2  # one that times runs, and one that merges
    jobs = {number: jobs[number] for number in devices}
    assert set(devices.values()) == {"0", "1"}
    together = 0
    for one, two in combinations(jobs.values(), 2):
        overlap = one["StartTime"] < two["EndTime"] and two["StartTime"] < one["EndTime"]
        if overlap and one["NodeList"] == two["NodeList"]:
            together += 1
            assert devices[one["JobId"]] != devices[two["JobId"]]
    assert together > 0


def test_every_run_was_trained_by_one_job(demo):
    done = re.findall(r"^[\d:]+ (\S+): done$", demo.training(), re.M)
    project = load(demo.folder / "params.yaml", "demo")
    assert Counter(done) == Counter(r.folder() for r in project.recipes)
    assert len({p["job"] for p in provenance(demo)}) == len(project.packs)


def test_jobs_ask_for_what_the_rules_say(demo):
    for number in {p["job"] for p in provenance(demo)}:
        job = demo.cluster.show(number)
        assert job["TimeLimit"] == "00:30:00"
        assert job["MinMemoryNode"] == "3000M"
        assert job["Requeue"] == "1"


def test_a_site_is_stacked_below(demo):
    """A user's own profile, with this one as the workflow's."""
    site = {"default-resources": {"slurm_partition": "urgent", "slurm_account": "mine"}, "jobs": 3}
    sandbox.write(demo.folder / "mysite" / "config.yaml", site)
    said = sandbox.run(
        demo.folder,
        *("snakemake", "-n", "--profile", "mysite", "--workflow-profile", "slurm"),
        *("--config", "study=demo", "--forcerun", "train"),
    ).stdout
    resources = re.findall(r"^rule train:.*?resources: (.*?)$", said, re.M | re.S)
    assert len(resources) == 9
    for line in resources:
        assert "slurm_partition=urgent" in line and "slurm_account=mine" in line
        assert "gpu=1" in line and "--signal=TERM@120" in line


def test_nothing_is_submitted_while_something_is_missing(fetched, running, tmp_path):
    """A model that is in no mirror, on a login node that has no network either."""
    site = Site(Path(shutil.copytree(fetched, tmp_path / "project")), running)
    model = {"hub": "own/absent", "revision": "r1"}
    sandbox.change(site.folder / "params.yaml", "models", "absent", to=model)
    sandbox.change(site.folder / "studies" / "mini.yaml", "models", to=["tiny", "absent"])
    before = running.jobs()
    site.start()
    assert site.master.wait(timeout=120) != 0
    assert "models.absent: " in site.log() and "cannot be reached" in site.log()
    assert "nothing was submitted" in site.log()
    assert running.jobs() == before
