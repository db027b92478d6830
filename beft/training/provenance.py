"""The origin of a run: code, versions, hardware, time, memory, command."""

import os
import platform
import resource
import shlex
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch

import beft
from beft.code_identity import code_digest
from beft.models.base import Model
from beft.models.encoder import Encoder
from beft.tasks.words import Plain
from beft.training.state import Data

LIBRARIES = ("torch", "transformers", "datasets", "numpy", "scikit-learn", "scipy", "safetensors")


@cache
def commit(root: Path) -> tuple[str, bool]:
    """(commit, whether tracked files differ from it); empty outside a git repository."""

    def git(*arguments: str) -> str:
        out = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True
        )
        return out.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!reports")
        return git("rev-parse", "HEAD"), bool(changed)
    except (OSError, subprocess.CalledProcessError):
        return "", False


@cache
def processor() -> str:
    """The CPU's name and the number of cores this process may use."""
    name = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {cores} cores"


def hardware(device: str) -> str:
    """The GPU's name, or the processor's."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else processor()


def reset_peak_memory(device: str) -> None:
    """Resets the peak of this process's memory, where the system can."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")


def peak_memory_mb(device: str) -> float:
    """Peak memory since it was last reset: of the GPU, or resident memory of this process."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device) / 2**20
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(x for x in lines if x.startswith("VmHWM")).split()[1]) / 2**10
    scale = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


def collect(root: Path, device: str, **facts: object) -> dict[str, object]:
    """The provenance of a run; `facts` are added to it."""
    revision, dirty = commit(root)
    return {
        "commit": revision,
        "dirty": dirty,
        "code": code_digest(),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "host": socket.gethostname(),
        "job": os.environ.get("SLURM_JOB_ID", ""),
        "visible_gpus": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
        "device": device,
        "hardware": hardware(device),
        "threads": torch.get_num_threads(),
        "peak_memory_mb": round(peak_memory_mb(device), 1),
        "versions": {
            "python": platform.python_version(),
            "beft": beft.__version__,
            **{name: version(name) for name in LIBRARIES},
        },
        **facts,
    }


def demonstrated(data: Data) -> Plain:
    """How many demonstrations preceded the prompts of each split, for the provenance of a run.

    Returns:
        {"demonstrations": {split: mean and least number, and how many prompts had none}}; empty for
        a run without demonstrations.
    """
    splits = {split: getattr(own, "demonstrated", []) for split, own in data.validation.items()}
    shown = {
        split: {
            "mean": sum(counts) / len(counts),
            "least": min(counts),
            "without": counts.count(0),
        }
        for split, counts in splits.items()
        if counts
    }
    return {"demonstrations": shown} if shown else {}


def inherited(model: Model) -> Plain:
    """What became of a classification layer of the checkpoint, for the provenance of a run.

    Returns:
        {"checkpoint_head": the fields of `Inherited`}; empty where no such layer came.
    """
    found = model.inherited if isinstance(model, Encoder) else None
    return {"checkpoint_head": asdict(found)} if found is not None else {}
