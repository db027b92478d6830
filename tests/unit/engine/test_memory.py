"""What fits into memory: limits of cgroups, the measured need of a pass, smaller passes."""

import logging

import numpy as np
import pytest
import torch

from beft.engine import memory


def test_the_narrowest_cgroup_counts(tmp_path, monkeypatch):
    """A job's own group has no limit, the group around it leaves 3000 - 2500 + 400 = 900 bytes."""
    inner = tmp_path / "job" / "step"
    inner.mkdir(parents=True)
    for folder, limit in ((inner, "max"), (inner.parent, "3000")):
        (folder / "memory.max").write_text(limit + "\n")
        (folder / "memory.current").write_text("2500\n")
        (folder / "memory.stat").write_text("anon 1\ninactive_file 400\n")
    own = tmp_path / "cgroup"
    own.write_text("0::/job/step\n")
    real = memory.Path
    monkeypatch.setattr(memory, "CGROUPS", tmp_path)
    monkeypatch.setattr(memory, "Path", lambda p: own if p == "/proc/self/cgroup" else real(p))
    assert memory.free_bytes("cpu") == 900


def test_used_by_sees_the_peak():
    def work():
        block = np.ones(40 * 2**20, np.uint8)  # gone again at the end
        memory.time.sleep(0.05)
        return block.sum()

    assert 35 * 2**20 < memory.used_by("cpu", work) < 80 * 2**20


@pytest.mark.parametrize(("free", "expected"), [(1e9, 2048), (1000, 80), (1, 1)])
def test_fitting_tokens(monkeypatch, caplog, free, expected):
    """100 bytes for 10 tokens, 0.8 of what is free: 0.8 * 1000 / 10 = 80; one token at least."""
    monkeypatch.setattr(memory, "used_by", lambda device, work: 100)
    monkeypatch.setattr(memory, "free_bytes", lambda device: free)
    with caplog.at_level(logging.WARNING):
        assert memory.fitting_tokens("cpu", 2048, 10, lambda: None) == expected
    assert ("instead of 2048" in caplog.text) == (expected < 2048)


def test_smaller_ends_with_the_error(caplog):
    error = torch.OutOfMemoryError("CUDA out of memory")
    passes = memory.Passes()
    assert passes.half(9, error) == 4
    assert "did not fit" in caplog.text
    with pytest.raises(torch.OutOfMemoryError, match="CUDA"):
        passes.half(1, error)
    assert passes.refused == 1
