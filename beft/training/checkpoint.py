"""The file of a checkpoint: tensors, plain text beside them, and a checksum of all of it."""

import logging
import zlib
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save

from beft.store.files import write_file

log = logging.getLogger(__name__)


def write(path: Path, texts: dict[str, str], tensors: dict[str, torch.Tensor]) -> None:
    """Writes a checkpoint, whole or not at all.

    Raises:
        UserError: when it cannot be written.
    """
    metadata = texts | {"checksum": _checksum(texts, tensors)}
    write_file(path, save(tensors, metadata=metadata))


def read(path: Path) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    """The texts and tensors of a checkpoint.

    Raises:
        FileNotFoundError: when there is none.
        ValueError, SafetensorError, KeyError: when it is not what was written.
    """
    with safe_open(path, "pt") as file:
        texts = dict(file.metadata())
        tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
    if texts.pop("checksum") != _checksum(texts, tensors):
        raise ValueError("its checksum differs")
    return texts, tensors


def digests(path: Path) -> list[str]:
    """The recipes whose states a checkpoint holds, in its order; none when it cannot be read."""
    try:
        return read(path)[0]["digests"].split()
    except Exception as error:
        log.warning("%s: not usable (%s); starting over", path, error)
        return []


def _checksum(texts: dict[str, str], tensors: dict[str, torch.Tensor]) -> str:
    """CRC-32, which is much quicker than the disk and finds what a failing disk does."""
    total = 0
    for name, text in sorted(texts.items()):
        total = zlib.crc32(f"{name} {text}".encode(), total)
    for name, tensor in sorted(tensors.items()):
        total = zlib.crc32(name.encode(), total)
        total = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy(), total)
    return f"{total:08x}"
