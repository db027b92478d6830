"""What happens to jobs on a cluster, done to them: each ends with the bytes of a quiet run."""

import signal

import cluster as slurm
import pytest
from support import sandbox

from beft.study.project import load

STOPPED = "stopped; the next start continues from the last checkpoint"
RESUMED = "resumed after epoch"


def cancelled(cluster, job: str) -> None:
    cluster.ask("scancel", job)


def signalled(cluster, job: str) -> None:
    """What `--signal=TERM@120` sends before the time limit."""
    cluster.ask("scancel", "--signal=TERM", job)


def requeued(cluster, job: str) -> None:
    cluster.ask("scontrol", "requeue", job)


def killed(cluster, job: str) -> None:
    """As by the kernel when memory is short."""
    cluster.ask("scancel", "--signal=KILL", job)


FATES = {"b_v": cancelled, "b_q": signalled, "b_attention_output": requeued, "b_output": killed}


def test_disturbed_jobs_go_on_where_they_were(site, four_undisturbed):
    """Four jobs at once, each with another fate as soon as it has a checkpoint."""
    packs = load(site.folder / "params.yaml", "four").packs
    packs = {
        pack.recipes[0].technique: (key, pack.recipes[0].digest) for key, pack in packs.items()
    }
    assert packs.keys() == FATES.keys()
    waiting = dict(FATES)
    site.start(study="four")

    def all_disturbed() -> bool:
        begun = site.begun()
        for technique in list(waiting):
            key, digest = packs[technique]
            if digest in begun:
                (job,) = site.jobs_of(key)
                waiting.pop(technique)(site.cluster, job)
        return not waiting

    site.until("checkpoints of all jobs", all_disturbed)
    site.finish()
    assert site.results() == four_undisturbed
    for technique, fate in FATES.items():
        key, _ = packs[technique]
        jobs, said = site.jobs_of(key), site.training(key)
        assert STOPPED in said or fate is killed
        assert RESUMED in said
        assert site.cluster.jobs()[jobs[0]]["restarts"] == ("1" if fate is requeued else "0")
        # the next attempt of one that failed has twice the time
        limits = [site.cluster.show(job)["TimeLimit"] for job in jobs]
        assert limits == ["00:20:00", "00:40:00"][: 1 if fate is requeued else 2]
    assert site.log().count("Trying to restart") == len(FATES) - 1
    done = sandbox.beft(site.folder, "verify", "--study", "four")
    assert done.status == 0, done.said


@pytest.fixture
def node_comes_back(cluster):
    yield
    for node in slurm.NODES:
        if node not in cluster.daemons:
            cluster.start_node(node)


def test_a_job_whose_nodes_are_taken_away(site, undisturbed, node_comes_back):
    """First by somebody more important, then by a node that is gone from one moment to the next."""
    site.start()
    job = site.until_training()

    def restarted(times: str) -> bool:
        return site.cluster.jobs().get(job, {}).get("restarts") == times

    urgent = ("-p", "urgent", "-N2", "--exclusive", "-o/dev/null", "--wrap=sleep 3")
    site.cluster.ask("sbatch", *urgent)
    site.until("preemption", lambda: restarted("1"))
    site.until("the job to go on", lambda: RESUMED in site.training())
    assert STOPPED in site.training()
    site.cluster.power_off(site.cluster.jobs()[job]["node"])
    site.until("the job to be requeued", lambda: restarted("2"))
    site.finish()
    assert site.results() == undisturbed
    assert site.training().count(RESUMED) == 2
    assert "Trying to restart" not in site.log()  # SLURM did, not snakemake
    done = sandbox.beft(site.folder, "verify")
    assert done.status == 0, done.said


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
    refused = sandbox.beft(site.folder, "recover")
    assert refused.status == 2 and f"process {site.master.pid}" in refused.said
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
    done = sandbox.beft(site.folder, "verify")
    assert done.status == 0, done.said
