"""GPUs that processes share: real processes, no GPU; claiming needs names and a folder only."""

import re
import subprocess
import sys

import pytest

from beft.errors import UserError
from beft.operations import gpus

CLAIM = (
    "import sys; from pathlib import Path; from beft.operations.gpus import claim\n"
    "print(claim(sys.argv[2:], Path(sys.argv[1])), flush=True); sys.stdin.read()"
)


@pytest.fixture
def start(tmp_path):
    """`start(*devices)`: a process that claims one of them and holds it until its input ends."""
    started = []

    def one(*devices: str) -> subprocess.Popen:
        command = [sys.executable, "-c", CLAIM, str(tmp_path / "claims"), *devices]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True))
        return started[-1]

    yield one
    for process in started:
        process.kill()
        process.communicate()


def test_processes_get_different_devices_whatever_their_order(start):
    processes = [start("a", "b", "c") for _ in range(3)]
    assert sorted(p.stdout.readline() for p in processes) == ["0\n", "1\n", "2\n"]
    late = start("a", "b", "c")
    assert late.wait() != 0 and "all 3 GPUs are taken" in late.stderr.read()


def test_a_device_is_the_same_wherever_it_stands(start):
    """With another CUDA_VISIBLE_DEVICES, the same GPU has another index."""
    assert start("a").stdout.readline() == "0\n"
    assert start("a", "b").stdout.readline() == "1\n"
    assert start("c", "b").stdout.readline() == "0\n"


@pytest.mark.parametrize("end", ["kill", "communicate"])
def test_a_claim_ends_with_its_process_however_it_ends(start, end):
    first = start("a")
    assert first.stdout.readline() == "0\n"
    getattr(first, end)()
    first.wait()
    assert start("a").stdout.readline() == "0\n"


def test_a_claim_lasts_beyond_the_call(tmp_path):
    assert gpus.claim(["a", "b"], tmp_path) == 0
    assert gpus.claim(["a", "b"], tmp_path) == 1
    with pytest.raises(UserError, match=re.escape(f"claims in {tmp_path}")):
        gpus.claim(["a", "b"], tmp_path)


@pytest.mark.parametrize("asked", ["cpu", "cuda:3"])
def test_a_named_device_is_taken_as_it_is(asked):
    assert gpus.device_of(asked) == asked


@pytest.mark.parametrize(("count", "device"), [(0, "cpu"), (1, "cuda")])
def test_with_one_visible_gpu_there_is_nothing_to_claim(monkeypatch, tmp_path, count, device):
    import torch

    monkeypatch.setattr(gpus, "claims", lambda: tmp_path / "claims")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    assert gpus.device_of("auto") == device
    assert not (tmp_path / "claims").exists()
