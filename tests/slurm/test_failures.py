"""What happens to jobs on a cluster, done to them: each ends with the bytes of a quiet run."""

import signal

import cluster as slurm
import pytest
from support import sandbox

STOPPED = "stopped; the next start goes on from the last checkpoint"
RESUMED = "resumed after epoch"


def cancelled(site, job: str) -> None:
    site.cluster.ask("scancel", job)


def signalled(site, job: str) -> None:
    """What `--signal=TERM@120` sends before the time limit; the next attempt has twice the time."""
    assert site.cluster.show(job)["TimeLimit"] == "00:20:00"
    site.cluster.ask("scancel", "--signal=TERM", job)
    site.until("another attempt", lambda: len(site.cluster_jobs()) == 2)
    assert site.cluster.show(site.cluster_jobs()[-1])["TimeLimit"] == "00:40:00"


def requeued(site, job: str) -> None:
    site.cluster.ask("scontrol", "requeue", job)


def preempted(site, job: str) -> None:
    """Somebody more important takes both nodes for a moment."""
    site.cluster.ask(
        "sbatch", "-p", "urgent", "-N2", "--exclusive", "-o/dev/null", "--wrap=sleep 3"
    )
    site.until("preemption", lambda: site.cluster.jobs().get(job, {}).get("restarts") == "1")


def killed(site, job: str) -> None:
    """As by the kernel when memory is short."""
    site.cluster.ask("scancel", "--signal=KILL", job)


@pytest.mark.parametrize("fate", [cancelled, signalled, requeued, preempted, killed])
def test_a_disturbed_job_goes_on_where_it_was(site, undisturbed, fate):
    site.start()
    job = site.until_training()
    fate(site, job)
    site.finish()
    assert site.results() == undisturbed
    assert STOPPED in site.training() or fate is killed
    assert RESUMED in site.training()
    restarts = site.cluster.jobs()[job]["restarts"]
    assert restarts == ("1" if fate in (requeued, preempted) else "0")
    assert ("Trying to restart" in site.log()) == (restarts == "0")
    sandbox.run(site.folder, "beft", "verify")


@pytest.fixture
def node_comes_back(cluster):
    yield
    for node in slurm.NODES:
        if node not in cluster.daemons:
            cluster.start_node(node)


def test_a_node_that_fails(site, undisturbed, node_comes_back):
    """It is gone from one moment to the next; SLURM starts its job on another one."""
    site.start()
    job = site.until_training()
    site.cluster.power_off(site.cluster.jobs()[job]["node"])
    site.until("the job to be requeued", lambda: site.cluster.jobs()[job]["restarts"] == "1")
    site.finish()
    assert site.results() == undisturbed
    sandbox.run(site.folder, "beft", "verify")


def test_a_controller_that_forgets_a_job(site, undisturbed):
    """Snakemake would wait for it forever."""
    rules = site.folder / "workflow" / "rules" / "slurm.smk"
    text = rules.read_text()
    assert "LOST_AFTER = 120" in text
    rules.write_text(text.replace("LOST_AFTER = 120", "LOST_AFTER = 5"))
    site.start()
    job = site.until_training()
    site.cluster.stop("slurmctld")
    site.cluster.start_controller("-c")
    assert job not in site.cluster.jobs()
    site.finish()
    assert f"SLURM knows nothing of job {job} any more" in site.log()
    assert site.results() == undisturbed


@pytest.mark.parametrize("adopt", [False, True])
def test_snakemake_is_killed(site, undisturbed, adopt):
    site.start()
    job = site.until_training()
    refused = sandbox.run(site.folder, "beft", "recover", check=False)
    assert refused.returncode == 2 and f"process {site.master.pid}" in refused.stderr
    site.master.send_signal(signal.SIGKILL)
    site.master.wait()
    assert list(site.cluster.jobs("running")) == [job]
    others = site.cluster.ask(
        "sbatch", "-o/dev/null", "-D/tmp", "--job-name=beft_x", "--wrap=sleep 99"
    )
    options = ["--profile", "slurm", "--config", "study=mini", "--latency-wait", "5"]
    command = ["beft", "recover", *(["--adopt"] if adopt else []), "--", *options]
    site.start(*command, "--slurm-init-seconds-before-status-checks", "1")
    site.finish()
    assert site.results() == undisturbed
    assert (STOPPED in site.training()) == (RESUMED in site.training()) == (not adopt)
    # an adopted job's pack is not started again; a job of another folder is left alone
    assert len(site.cluster_jobs()) == (1 if adopt else 2)
    assert others.split()[-1] in site.cluster.jobs("running")
    sandbox.run(site.folder, "beft", "verify")
