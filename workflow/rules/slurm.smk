# On SLURM only: fetches everything before jobs are submitted, since jobs have no network, and
# detects jobs that SLURM refuses or has forgotten.
#
# SLURM refuses a job that asks for what no partition has. Another attempt would ask for more, so
# there is none, and the message says what to set.
#
# SLURM forgets a job when its controller loses its state, or when squeue was not called for longer
# than finished jobs are remembered (MinJobAge), for example because this machine slept. The
# executor takes such a job for one that is not listed yet and waits forever. Here it counts as done
# if its outputs exist (they are written last, and whole); otherwise it counts as failed and is
# retried.

import os
import re
import subprocess
import sys
import time

from beft.study.fields import check_for_shells

# What sbatch says when SLURM cannot be asked, or cannot answer, for the moment.
PASSING = re.compile(r"contact slurm controller|timed out|[Cc]onnection|temporarily|try again")
SITE = (
    "SLURM refuses this job, so it is not tried again: {reason}\n    It asks for {asked}. Set what "
    "your site needs at the end of slurm/profile.yaml: under default-resources, slurm_partition (one "
    "that has GPUs), slurm_account, constraint and qos; under set-resources, gpu. Memory and run "
    "time: 'execution' in params.yaml."
)
LOST_AFTER = 120  # seconds that squeue answers without listing a job
SILENT_AFTER = 300  # seconds without an answer until a warning


def refusing_once(tell):
    def tell_once(self, job_info, msg):
        said = re.search(r"SLURM sbatch failed.*?message was '(.*?)'\.\n", msg, re.S)
        if said and not PASSING.search(said[1]):
            job = job_info.job
            job._attempt = job.restart_times + 1  # the last one
            kinds = {"gpu": "{} GPUs", "mem_mb": "{} MB of memory", "runtime": "{} minutes"}
            asked = [text.format(job.resources.get(kind, 0)) for kind, text in kinds.items()]
            msg = SITE.format(reason=" ".join(said[1].split()), asked=", ".join(asked))
        tell(self, job_info, msg)

    return tell_once


def noticing_lost_jobs(check):
    from snakemake_executor_plugin_slurm import query_job_status, query_job_status_squeue

    since = {}  # job, or "squeue" -> time when it was first missing

    def missed(what):
        return time.monotonic() - since.setdefault(what, time.monotonic())

    async def check_active_jobs(self, active_jobs):
        known = {}
        if active_jobs:  # before the first job, the executor may not be set up
            command = query_job_status_squeue(self.run_uuid)
            known, _ = await query_job_status(command, self.logger)
        if known is not None:
            since.pop("squeue", None)
        elif missed("squeue") > SILENT_AFTER:
            minutes = missed("squeue") / 60
            self.logger.warning(f"squeue has not answered for {minutes:.0f} minutes; still waiting")
        async for info in check(self, active_jobs):
            job = info.external_jobid
            if known is None or job in known:
                since.pop(job, None)
                yield info
            elif missed(job) < LOST_AFTER:
                yield info
            elif all(os.path.exists(path) for path in info.job.output):
                self.logger.warning(f"SLURM has forgotten job {job}; its outputs are there")
                self.report_job_success(info)
            else:
                message = f"SLURM knows nothing of job {job} any more, and its outputs are missing."
                self.report_job_error(info, msg=message)

    return check_active_jobs


try:
    from snakemake_executor_plugin_slurm import Executor
except ImportError:
    pass  # no cluster here
else:
    if not hasattr(Executor, "notices_lost_jobs"):  # this file may be read twice
        Executor.notices_lost_jobs = True
        Executor.check_active_jobs = noticing_lost_jobs(Executor.check_active_jobs)
        tell_error = refusing_once(Executor._report_job_error_threadsafe)
        Executor._report_job_error_threadsafe = tell_error


onstart:
    if workflow.non_local_exec and workflow.is_main_process:
        try:
            check_for_shells("the project's folder", os.getcwd())
            check_for_shells("python", sys.executable, blanks=False)
        except UserError as error:
            sys.exit(f"beft: {error}")
        fetched = subprocess.run(["beft", "fetch", "--study", str(config["study"])])
        if fetched.returncode:
            sys.exit("nothing was submitted: see above for what is missing")
