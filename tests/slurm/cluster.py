"""A real SLURM on this machine: slurmctld, several slurmd, munge; loopback only, faked GPUs.

    python tests/slurm/cluster.py        until Ctrl-C, to try things by hand

Needs root and Debian's packages (`tests/slurm/install`). All of it lies in a temporary folder,
except the link /etc/slurm/slurm.conf: programs inside jobs look there and nowhere else.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

NODES = ("node1", "node2")
GPUS = 2  # of each node
PORT = 26817  # of slurmctld; nodes listen on those after it
LINK = Path("/etc/slurm/slurm.conf")
CONFIG_NAME = "beft-tests.conf"
PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "scontrol")

# Timeouts are short so that failures show within seconds. What is killed has 20 seconds to end.
CONFIG = """
ClusterName=beft-tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/log/slurmctld
SlurmdLogFile={folder}/log/%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
MailProg=/bin/true
SwitchType=switch/none
ReturnToService=2
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SchedulerParameters=bf_interval=1,sched_interval=1,batch_sched_delay=0,requeue_delay=1
SlurmdTimeout=10
MinJobAge=300
KillWait=20
JobRequeue=1
GresTypes=gpu
DefMemPerCPU=500
{nodes}
PartitionName=main Nodes={all} Default=YES PriorityTier=1 State=UP
PartitionName=urgent Nodes={all} PriorityTier=9 PreemptMode=OFF State=UP
"""


def obstacle() -> str | None:
    """Why a cluster cannot be had here; None when it can."""
    if os.geteuid() != 0:
        return "SLURM's daemons need root"
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        return f"SLURM is not installed (no {', '.join(missing)}): run tests/slurm/install"
    if LINK.exists() and not (LINK.is_symlink() and LINK.readlink().name == CONFIG_NAME):
        return f"{LINK} belongs to another SLURM"
    return None


@dataclass
class Cluster:
    """A running cluster; `folder` holds its configuration, state and logs."""

    folder: Path
    daemons: dict[str, subprocess.Popen] = field(default_factory=dict)

    def start(self) -> None:
        """Configuration, then munge, controller and nodes; returns when a job can be run."""
        for name in ("munge", "log", "state"):
            (self.folder / name).mkdir()
        self.folder.chmod(0o755)
        for number in range(GPUS):  # SLURM wants devices: these are twins of /dev/null
            os.mknod(self.folder / f"gpu{number}", 0o020666, os.makedev(1, 3))
        nodes = [
            f"NodeName={node} NodeHostname={socket.gethostname()} NodeAddr=127.0.0.1 "
            f"Port={PORT + 1 + i} CPUs=8 RealMemory=64000 Gres=gpu:{GPUS} State=UNKNOWN"
            for i, node in enumerate(NODES)
        ]
        names = {"host": socket.gethostname(), "port": PORT, "folder": self.folder}
        text = CONFIG.format(**names, nodes="\n".join(nodes), all=",".join(NODES))
        (self.folder / CONFIG_NAME).write_text(text)
        devices = f"{self.folder}/gpu[0-{GPUS - 1}]"
        gpus = f"NodeName={','.join(NODES)} AutoDetect=off Name=gpu File={devices}\n"
        (self.folder / "gres.conf").write_text(gpus)
        LINK.parent.mkdir(exist_ok=True)
        LINK.unlink(missing_ok=True)
        LINK.symlink_to(self.folder / CONFIG_NAME)
        self._start_munge()
        self.start_controller()
        for node in NODES:
            self.start_node(node)
        wait("the nodes", lambda: self.idle() == set(NODES))
        self.ask("srun", "true")

    def _start_munge(self) -> None:
        folder = self.folder / "munge"
        (folder / "key").write_bytes(os.urandom(1024))
        shutil.chown(folder, "munge", "munge")
        shutil.chown(folder / "key", "munge", "munge")
        (folder / "key").chmod(0o400)
        files = {"key-file": "key", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        options = [f"--{option}={folder / name}" for option, name in files.items()]
        user = ["--reuid=munge", "--regid=munge", "--clear-groups"]
        socket_ = folder / "socket"
        self._daemon("munged", *user, "munged", "--foreground", f"--socket={socket_}", *options)
        wait("munge", lambda: self.ask("munge", "-n", f"--socket={socket_}"))

    def start_controller(self, *options: str) -> None:
        """`-c` forgets all jobs, as a controller does that has lost its state."""
        self._daemon("slurmctld", "slurmctld", "-D", *options)
        wait("slurmctld", lambda: "UP" in self.ask("scontrol", "ping"))

    def start_node(self, node: str) -> None:
        """The daemon of a node; its jobs outlive it."""
        self._daemon(node, "slurmd", "-D", "-N", node)

    def _daemon(self, name: str, *command: str) -> None:
        with (self.folder / "log" / f"{name}.out").open("a") as out:
            self.daemons[name] = subprocess.Popen(
                ["setpriv", "--pdeathsig=KILL", *command],  # ends with us, whatever happens
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**os.environ, "SLURM_CONF": str(self.folder / CONFIG_NAME)},
                start_new_session=True,
            )

    def ask(self, *command: str) -> str:
        """What a command of SLURM says.

        Raises:
            subprocess.CalledProcessError: when it fails.
        """
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        return done.stdout.strip()

    def idle(self) -> set[str]:
        """The nodes that could take a job."""
        return set(self.ask("sinfo", "-hN", "-t", "idle", "-o", "%N").split())

    def jobs(self, states: str = "all") -> dict[str, dict[str, str]]:
        """Every job that the controller knows: number -> name, state, node, reason, restarts."""
        keys = ("name", "state", "node", "reason", "restarts")
        fields = "JobID:|,Name:|,State:|,NodeList:|,Reason:|,RestartCnt:|"
        lines = self.ask("squeue", "-h", "-t", states, "-O", fields).splitlines()
        rows = [[part.strip() for part in line.split("|")] for line in lines]
        return {row[0]: dict(zip(keys, row[1:], strict=False)) for row in rows}

    def show(self, job: str) -> dict[str, str]:
        """All that `scontrol show job` says of a job."""
        words = self.ask("scontrol", "-o", "show", "job", "-d", job).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def cancel_all(self) -> None:
        """Ends all jobs and waits until they are gone."""
        for job in self.jobs("pending,running,completing,suspended,requeued"):
            with suppress(subprocess.CalledProcessError):
                self.ask("scancel", job)
        active = "pending,running,completing,suspended"
        wait("jobs to end", lambda: not self.jobs(active), seconds=90)

    def stop(self, name: str, how: str = "TERM") -> None:
        """Ends one daemon."""
        daemon = self.daemons.pop(name)
        subprocess.run(["kill", f"-{how}", str(daemon.pid)], check=False)
        try:
            daemon.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(daemon.pid, signal.SIGKILL)
            daemon.wait()

    def power_off(self, node: str) -> None:
        """All that runs on a node is gone at once."""
        jobs = [number for number, job in self.jobs("running").items() if job["node"] == node]
        self.stop(node, "KILL")
        marks = [f"SLURM_JOB_ID={job}\0".encode() for job in jobs]
        names = tuple(f"slurmstepd: [{job}.".encode() for job in jobs)
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                variables = (folder / "environ").read_bytes()
                title = (folder / "cmdline").read_bytes()
                if title.startswith(names) or any(mark in variables for mark in marks):
                    os.kill(int(folder.name), signal.SIGKILL)

    def close(self) -> None:
        """Ends jobs and daemons and removes every file."""
        with suppress(Exception):
            self.cancel_all()
        for name in ("slurmctld", *NODES, "munged"):
            if name in self.daemons:
                self.stop(name)
        if LINK.is_symlink() and LINK.readlink() == self.folder / CONFIG_NAME:
            LINK.unlink()
        shutil.rmtree(self.folder, ignore_errors=True)


def wait(what: str, condition: Callable[[], object], seconds: float = 60) -> None:
    """Until a condition holds; failing commands count as not yet."""
    deadline = time.monotonic() + seconds
    while True:
        with suppress(subprocess.CalledProcessError):
            if condition():
                return
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:g} s for {what}")
        time.sleep(0.1)


@contextmanager
def cluster() -> Iterator[Cluster]:
    """A cluster that is there while the block runs."""
    made = Cluster(Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp")))
    try:
        made.start()
        yield made
    finally:
        made.close()


if __name__ == "__main__":
    if reason := obstacle():
        sys.exit(reason)
    with suppress(KeyboardInterrupt), cluster() as running:
        print(running.ask("sinfo"), f"\n{running.folder}", flush=True)
        while True:
            time.sleep(1)
