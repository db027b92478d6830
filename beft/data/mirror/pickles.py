"""Turn pickled weights into safetensors, each file in a child process that may do nothing else."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from threading import Lock

import beft
from beft.data.mirror import unpickle
from beft.errors import UserError, one_line

_one_at_a_time = Lock()  # so that memory is bounded by one file, however many models are fetched


def check_torch(where: str) -> None:
    """Refuses a torch whose restricted loader has a known hole, before anything is downloaded.

    Raises:
        UserError: if the installed torch is too old.
    """
    found = version("torch")
    if unpickle.too_old(found):
        raise UserError(
            f"{where}: its weights are pickled, and torch {found} reads such files with known "
            f"holes ({unpickle.HOLES}); install torch 2.10 or later"
        )


def convert(source: Path, target: Path, label: str) -> None:
    """Writes the tensors of a pickled file to a safetensors file, whole or not at all.

    Args:
        label: what messages call the file.

    Raises:
        UserError: if it holds anything but tensors, or cannot be read. It is deleted then, and
            stays only where more memory or room may help.
    """
    part = target.with_name(f".{target.name}.part")
    command = [sys.executable, "-m", unpickle.__name__, str(source.resolve()), str(part.resolve())]
    with _one_at_a_time:
        done = subprocess.run(
            command,
            env=_variables(),
            cwd=source.parent,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
        )
    if done.returncode == 0:
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(target)
        return
    part.unlink(missing_ok=True)
    if done.returncode == unpickle.REFUSED:
        source.unlink()
        raise UserError(f"{label} is refused: {one_line(done.stdout, 400)}")
    raise UserError(f"{label} cannot be converted to safetensors: {_how_it_ended(done)}")


def _variables() -> dict[str, str]:
    """The child's environment: the same library, one thread, no GPU, and nobody's tokens."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING", "TORCH_"))}
    own = {"PYTHONPATH": str(Path(beft.__file__).parents[1]), "PYTHONSAFEPATH": "1"}
    return kept | own | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def _how_it_ended(done: "subprocess.CompletedProcess[str]") -> str:
    if done.returncode < 0:
        return f"signal {-done.returncode} ended the process; is there enough memory for the file?"
    lines = done.stderr.strip().splitlines() or ["no message"]
    return f"the process ended with {done.returncode} ({one_line(lines[-1], 200)})"
