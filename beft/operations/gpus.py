"""Give each process a GPU that no other process uses: jobs on one machine claim their GPUs."""

import fcntl
import logging
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from beft.errors import UserError
from beft.store.files import explain_os_errors

log = logging.getLogger(__name__)

_held: list[IO[str]] = []  # open files of this process's claims; they end with the process


def claims() -> Path:
    """The folder with the claims of this user on this machine."""
    return Path(tempfile.gettempdir()) / f"beft-gpus-{os.getuid()}"


def claim(devices: Sequence[str], folder: Path) -> int:
    """Claims a free device until this process ends, and returns its index.

    Args:
        devices: names of the devices, which must be the same in all processes.
        folder: the folder of claims; it holds a locked file for each claimed device.

    Raises:
        UserError: if all devices are claimed.
    """
    with explain_os_errors(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for index, name in enumerate(devices):
            file = (folder / f"{name}.lock").open("a")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                continue
            _held.append(file)
            return index
    raise UserError(
        f"all {len(devices)} GPUs are taken by other jobs (claims in {folder}); start fewer jobs "
        "at once ('resources: gpu' of the profile), or choose a GPU with --device cuda:N"
    )


def device_of(device: str) -> str:
    """The torch device for `--device`; `auto` claims a GPU, or means the CPU if there is none."""
    if device != "auto":
        return device
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not count and os.environ.get("CUDA_VISIBLE_DEVICES"):
        log.warning("a GPU was assigned, but torch cannot use it: training on the CPU")
    if count <= 1:
        return "cuda" if count else "cpu"
    names = [str(torch.cuda.get_device_properties(i).uuid) for i in range(count)]
    index = claim(names, claims())
    torch.cuda.set_device(index)  # for code that asks for "cuda" without a number
    log.info("GPU %d of %d (%s)", index, count, names[index])
    return f"cuda:{index}"
