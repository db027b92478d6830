"""One GPU for one process: jobs that share a machine claim theirs, so that no two use the same."""

import fcntl
import logging
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from beft.errors import UserError
from beft.store.files import explain_os_errors

log = logging.getLogger(__name__)

_held = []  # open files: a claim lasts as long as its process


def claims() -> Path:
    """The folder of this user's claims on this machine."""
    return Path(tempfile.gettempdir()) / f"beft-gpus-{os.getuid()}"


def claim(devices: Sequence[str], folder: Path) -> int:
    """The place of a device that no other process has claimed; it is this process's until it ends.

    Args:
        devices: names of the devices, the same for every process that may see them.
        folder: where claims are noted, one locked file for each device.

    Raises:
        UserError: when all are taken.
    """
    with explain_os_errors(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for place, name in enumerate(devices):
            file = (folder / f"{name}.lock").open("a")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                continue
            _held.append(file)
            return place
    raise UserError(
        f"all {len(devices)} GPUs are taken by other jobs (claims in {folder}); start fewer at "
        "once ('resources: gpu' of the profile), or name one with --device cuda:N"
    )


def device_of(asked: str) -> str:
    """The torch device that `--device` means; `auto` is a GPU of its own where there is one."""
    if asked != "auto":
        return asked
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not count and os.environ.get("CUDA_VISIBLE_DEVICES"):
        log.warning("a GPU was assigned, but torch cannot use it: training on the CPU")
    if count <= 1:
        return "cuda" if count else "cpu"
    names = [str(torch.cuda.get_device_properties(i).uuid) for i in range(count)]
    place = claim(names, claims())
    torch.cuda.set_device(place)  # for whatever says no more than "cuda"
    log.info("GPU %d of %d (%s)", place, count, names[place])
    return f"cuda:{place}"
