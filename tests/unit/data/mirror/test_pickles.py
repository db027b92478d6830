"""Converting in a child process: what it leaves behind, and what it says where it fails."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from beft.data.mirror import pickles
from beft.errors import UserError


@pytest.fixture
def source(tmp_path) -> Path:
    path = tmp_path / "pytorch_model.bin"
    torch.save({"weight": torch.arange(4.0)}, path)
    return path


def test_a_file_is_converted_and_stays(source, tmp_path):
    pickles.convert(source, tmp_path / "model.safetensors", "it")
    found = load_file(tmp_path / "model.safetensors")
    assert found["weight"].tolist() == [0, 1, 2, 3]
    assert {path.name for path in tmp_path.iterdir()} == {source.name, "model.safetensors"}


def test_a_file_that_is_refused_is_deleted(source, tmp_path):
    torch.save({"weight": torch.ones(2), "step": 3}, source)
    with pytest.raises(UserError, match="^it is refused: it holds an object of type int under"):
        pickles.convert(source, tmp_path / "model.safetensors", "it")
    assert list(tmp_path.iterdir()) == []


# A program instead of the converter -> what is said, in one line.
@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "signal 9 ended .* memory"),
        ("raise OSError('no space left')", r"ended with 1 \(OSError: no space left\)"),
        ("import sys; sys.exit(7)", r"ended with 7 \(no message\)"),
    ],
)
def test_a_converter_that_fails_leaves_the_file(source, tmp_path, monkeypatch, program, words):
    def run(command: list[str], **settings: object) -> subprocess.CompletedProcess:
        Path(command[-1]).write_bytes(b"half")
        return real([sys.executable, "-c", program], **settings)

    real = subprocess.run
    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(UserError, match=f"^it cannot be converted to safetensors: .*{words}"):
        pickles.convert(source, tmp_path / "model.safetensors", "it")
    assert [path.name for path in tmp_path.iterdir()] == [source.name]


def test_the_child_gets_no_tokens(monkeypatch):
    secret = {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"}
    for name in secret:
        monkeypatch.setenv(name, "1")
    assert not secret & set(pickles._variables())


def test_an_old_torch_is_refused_before_anything_is_fetched(monkeypatch):
    pickles.check_torch("models.m")
    monkeypatch.setattr(pickles, "version", lambda name: "2.9.1+cu128")
    with pytest.raises(UserError, match=r"^models.m: .* torch 2.9.1\+cu128 .*CVE-2026-24747"):
        pickles.check_torch("models.m")
