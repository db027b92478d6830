"""Checkpoints: the trained values and states of the runs of an engine, in one checksummed file."""

import json
import logging
import time
import zlib
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save

from beft.engine.base import Engine
from beft.engine.precision import real
from beft.store.files import write_file
from beft.training.state import Control, State

log = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.safetensors"


def save_states(engine: Engine, states: list[State], control: Control) -> None:
    """Writes the runs' tensors, and the plain part of their states as the file's metadata.

    Raises:
        UserError: when it cannot be written.
    """
    if control.checkpoint is None:
        return
    tensors = {f"engine/{k}": v for k, v in engine.state().items()}
    plain = []
    for run, state in enumerate(states):
        tensors |= {f"{run}/{k}": v.contiguous().clone() for k, v in state.tensors.items()}
        plain.append({k: v for k, v in vars(state).items() if k != "tensors"})
        plain[-1]["seconds"] += time.monotonic() - control.started
        plain[-1]["refused"] += engine.passes.refused
    texts = {"digests": _digests(engine), "states": json.dumps(plain)}
    texts["precision"] = _precision(engine)
    checksum = {"checksum": _checksum(texts, tensors)}
    write_file(control.checkpoint, save(tensors, metadata=texts | checksum))


def resume(engine: Engine, control: Control) -> list[State] | None:
    """The states of a sound checkpoint of these very runs, loaded into the engine."""
    if control.checkpoint is None:
        return None
    try:
        metadata, tensors = _read(control.checkpoint)
        if metadata["digests"] != _digests(engine):
            raise ValueError("it belongs to other runs")
        if metadata["precision"] != _precision(engine):
            raise ValueError(
                f"its runs computed in {metadata['precision']}, which is not used here"
            )
        states = [State(**plain) for plain in json.loads(metadata["states"])]
    except FileNotFoundError:
        return None
    except Exception as error:
        log.warning("%s: not usable (%s); starting over", control.checkpoint, error)
        return None
    groups: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        group, _, name = key.partition("/")
        groups.setdefault(group, {})[name] = tensor
    engine.load(groups["engine"])
    for run, state in enumerate(states):
        state.tensors = groups.get(str(run), {})
    log.info("resumed after epoch %d, step %d", states[0].epoch, states[0].step)
    return states


def digests(path: Path) -> list[str]:
    """Digests of the recipes in a checkpoint, in its order; none when it cannot be read."""
    try:
        return _read(path)[0]["digests"].split()
    except Exception as error:
        log.warning("%s: not usable (%s); starting over", path, error)
        return []


def _read(path: Path) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
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


def _precision(engine: Engine) -> str:
    """What the runs compute in here; with `auto`, another machine may differ."""
    return real(engine.device, engine.settings["precision"])


def _digests(engine: Engine) -> str:
    return " ".join(recipe.digest for recipe in engine.recipes)


def _checksum(texts: dict[str, str], tensors: dict[str, torch.Tensor]) -> str:
    """CRC-32, which is much quicker than the disk and finds what a failing disk does."""
    total = 0
    for name, text in sorted(texts.items()):
        total = zlib.crc32(f"{name} {text}".encode(), total)
    for name, tensor in sorted(tensors.items()):
        total = zlib.crc32(name.encode(), total)
        total = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, total)
    return f"{total:08x}"
