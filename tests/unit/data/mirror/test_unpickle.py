"""Pickled weights become safetensors of the same bits, or are refused with what is in them."""

import collections
import io
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support import tiny
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from beft.data.mirror import unpickle
from beft.data.mirror.unpickle import RefusedError

TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.bool, torch.int64)


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.detach().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes()


def noise(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Any bits, also those of numbers that are none."""
    count = torch.Size(shape).numel() * torch.empty((), dtype=dtype).element_size()
    most = 2 if dtype == torch.bool else 256
    raw = torch.randint(0, most, (count,), generator=torch.Generator().manual_seed(1))
    return raw.to(torch.uint8).view(dtype).reshape(shape)


def converted(content: object, folder: Path, **settings: object) -> dict[str, torch.Tensor]:
    torch.save(content, folder / "pytorch_model.bin", **settings)
    unpickle.convert(folder / "pytorch_model.bin", folder / "model.safetensors")
    return load_file(folder / "model.safetensors")


def compress(path: Path, method: int = zipfile.ZIP_DEFLATED) -> None:
    """Packs the same archive anew."""
    with zipfile.ZipFile(path) as archive:
        files = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before zip"])
def test_every_type_keeps_its_bits(tmp_path, zipped):
    given = {str(dtype): noise(3, 5, dtype=dtype) for dtype in TYPES}
    given |= {"scalar": torch.tensor(2.5), "empty": torch.zeros(0, 4)}
    found = converted(given, tmp_path, _use_new_zipfile_serialization=zipped)
    assert {n: (t.dtype, t.shape, bits(t)) for n, t in found.items()} == {
        n: (t.dtype, t.shape, bits(t)) for n, t in given.items()
    }


def test_tensors_that_share_memory_are_written_as_they_are_seen(tmp_path):
    base = noise(6, 4)
    given = collections.OrderedDict(
        whole=base,
        tied=base,
        parameter=torch.nn.Parameter(base),
        part=base[2:4],
        across=base.t(),
        steps=base[:, ::2],
    )
    found = converted(given, tmp_path)
    assert {name: bits(t) for name, t in found.items()} == {n: bits(t) for n, t in given.items()}


def test_what_a_state_dict_carries_beside_its_tensors_is_left_out(tmp_path):
    given = collections.OrderedDict(weight=noise(4))
    given._metadata = {f"layers.{i}": {"version": i, "note": "x" * 1000} for i in range(500)}
    assert list(converted(given, tmp_path)) == ["weight"]


def test_an_archive_that_was_packed_anew_is_read_right(tmp_path):
    """Mapped, the bytes of a compressed archive would be taken for the numbers."""
    given = {"a": torch.arange(1000.0), "b": noise(50_000), "c": torch.zeros(9)}
    path = tmp_path / "pytorch_model.bin"
    torch.save(given, path)
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED):
        compress(path, method)
        unpickle.convert(path, tmp_path / "model.safetensors")
        found = load_file(tmp_path / "model.safetensors")
        assert {name: bits(t) for name, t in found.items()} == {
            n: bits(t) for n, t in given.items()
        }


def test_the_same_file_gives_the_same_bytes(tmp_path):
    given = {f"layer.{i}": noise(i + 1) for i in range(20)}
    converted(given, tmp_path)
    first = (tmp_path / "model.safetensors").read_bytes()
    converted(dict(reversed(given.items())), tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == first


class Foreign:
    """An object of a class of ours."""


class Program:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.path}",)


def saved(content: object, **settings: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **settings)
    return buffer.getvalue()


def script(folder: Path) -> bytes:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), buffer)
    return buffer.getvalue()


ONE = {"weight": torch.ones(2)}
# What a file holds -> what is said of it.
REFUSED: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "an object": (lambda _: saved({**ONE, "x": Foreign()}), r"holds more than tensors: \S+Foreign"),
    "a program": (lambda f: saved(ONE | {"x": Program(f / "ran")}), r"than tensors: posix.system"),
    "a program, before zip": (
        lambda f: saved(ONE | {"x": Program(f / "ran")}, _use_new_zipfile_serialization=False),
        r"than tensors: posix.system",
    ),
    "a bare pickle": (lambda f: pickle.dumps(Program(f / "ran"), 2), r"posix.system"),
    "training state": (lambda _: saved({"model": ONE, "epoch": 3}), "of type dict under 'model'"),
    "a number": (lambda _: saved(ONE | {"step": 3}), "of type int under 'step'"),
    "numbered": (lambda _: saved({0: torch.ones(2)}), "of type Tensor under 0"),
    "a tensor": (lambda _: saved(torch.ones(2)), "of type Tensor instead of named tensors"),
    "a list": (lambda _: saved([torch.ones(2)]), "of type list instead of named tensors"),
    "nothing": (lambda _: saved({}), "holds no tensors"),
    "sparse": (lambda _: saved({"w": torch.eye(3).to_sparse()}), "'w' is not a plain tensor"),
    "no values": (lambda _: saved({"w": torch.ones(2, device="meta")}), "'w' is not a plain"),
    "stretched": (lambda _: saved({"w": torch.ones(1).expand(10**12)}), "more elements than"),
    "the header's name": (lambda _: saved({"__metadata__": torch.ones(2)}), "under '__metadata__'"),
    "a script": (script, "TorchScript"),
    "empty": (lambda _: b"", "cannot read it"),
    "no pickle": (lambda _: b"<html>not here</html>", "Unsupported operand"),
    "a pointer": (lambda _: b"version https://git-lfs.github.com/spec/v1\n", "cannot read it"),
    "cut": (lambda _: saved({"w": noise(500)})[:-300], "cannot read it|cannot be read"),
    "cut before zip": (
        lambda _: saved({"w": noise(500)}, _use_new_zipfile_serialization=False)[:-300],
        "cannot read it",
    ),
    "another archive": (lambda _: shutil.make_archive.__doc__.encode() * 9, "cannot read it"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_weights_alone_is_refused(tmp_path, case):
    make, words = REFUSED[case]
    (tmp_path / "pytorch_model.bin").write_bytes(make(tmp_path))
    with pytest.raises(RefusedError, match=words) as error:
        unpickle.convert(tmp_path / "pytorch_model.bin", tmp_path / "model.safetensors")
    assert "\n" not in str(error.value) and "\x1b" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["pytorch_model.bin"]


def test_a_record_that_is_shorter_than_it_claims_is_refused(tmp_path):
    path = tmp_path / "pytorch_model.bin"
    torch.save({"w": noise(1000), "then": noise(9000)}, path)
    with zipfile.ZipFile(path) as archive:
        files = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content[:400] if name.endswith("data/0") else content)
    with pytest.raises(RefusedError, match="larger than the part of the file"):
        unpickle.convert(path, tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    ("version", "old"),
    [
        *((v, True) for v in ("1.13.1", "2.5.1+cu124", "2.6.0", "2.9.1", "2.10.0a0+git1", "x")),
        *((v, True) for v in ("2.10.0.dev20260101", "2.10.0rc1")),
        *((v, False) for v in ("2.10.0", "2.10.0+cpu", "2.13.0", "3.0", "2.11.0.dev20260401")),
    ],
)
def test_a_loader_with_known_holes_is_too_old(version, old):
    assert unpickle.too_old(version) is old


def pickle_weights(folder: Path, half: bool = False) -> dict[str, torch.Tensor]:
    """Saves a checkpoint as repositories of the time before safetensors hold it."""
    auto = AutoModelForCausalLM if (folder / "generation_config.json").exists() else None
    auto = auto or AutoModelForSequenceClassification
    model = auto.from_pretrained(folder)
    state = (model.half() if half else model).state_dict()
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    return state


@pytest.mark.parametrize("half", [False, True], ids=["float32", "float16"])
@pytest.mark.parametrize("name", ["opt", "llama", "gptj", "bert"])
def test_a_model_answers_as_it_did(tmp_path, name, half):
    """Its logits equal those of transformers on the pickled original, bit by bit."""
    if name == "bert":
        tiny.checkpoint(name, tmp_path, auto=AutoModelForSequenceClassification)
    else:
        tiny.decoder_checkpoint(name, tmp_path)
    pickle_weights(tmp_path, half)
    auto = AutoModelForSequenceClassification if name == "bert" else AutoModelForCausalLM
    given = torch.tensor([[2, 40, 75, 81, 5]])
    before = auto.from_pretrained(tmp_path, dtype="auto").eval()(given).logits
    unpickle.convert(tmp_path / "pytorch_model.bin", tmp_path / "model.safetensors")
    (tmp_path / "pytorch_model.bin").unlink()
    after = auto.from_pretrained(tmp_path, dtype="auto").eval()(given).logits
    assert before.dtype == after.dtype and torch.equal(before, after)
