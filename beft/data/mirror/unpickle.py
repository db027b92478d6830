"""A program of its own: reads one file of pickled weights, and writes it as safetensors.

    python -m beft.data.mirror.unpickle SOURCE TARGET

It has no network, its memory is bounded by the size of the file, and torch's restricted loader
reads the file: tensors and plain containers, nothing else. What it refuses, this refuses; there is
no option that allows more. It prints one line that says why, and ends with `REFUSED`.
"""

import re
import sys
import zipfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from beft.data.mirror import confine
from beft.errors import one_line

if TYPE_CHECKING:
    from torch import Tensor

REFUSED = 3  # the exit status
MARGIN = 2**30  # bytes of memory beside the file's own size; writing takes 8 MB
FLOOR = (2, 10)  # the first torch whose restricted loader has no hole that is known
HOLES = "CVE-2025-32434 before 2.6, CVE-2026-24747 before 2.10"


class RefusedError(Exception):
    """What is wrong with the file, in a few words."""


def too_old(version: str) -> bool:
    """Whether the restricted loader of this version of torch has a known hole."""
    found = re.match(r"(\d+)\.(\d+)(\.\d+)*(?P<early>a|b|rc|\.?dev)?", version)
    if found is None:
        return True
    number = int(found[1]), int(found[2])
    return number < FLOOR or (number == FLOOR and found["early"] is not None)


def convert(source: Path, target: Path) -> None:
    """Writes the tensors of a pickled file to a safetensors file: same names, types and bits.

    Tensors that share memory are written one by one, as the loaders of the pickled file see them.

    Raises:
        RefusedError: if the file holds anything else, or cannot be read.
    """
    import torch
    from safetensors.torch import save_file

    records = _records(source)
    mapped = records is not None
    try:
        content = torch.load(source, weights_only=True, mmap=mapped, map_location="cpu")
    except Exception as error:
        raise RefusedError(_reason(source, error)) from error
    tensors = _named_tensors(content)
    if records is not None and (_storages(content) - records):
        raise RefusedError("a tensor is larger than the part of the file that holds it")
    try:
        save_file(tensors, target, metadata={"format": "pt"})
    except (ValueError, RuntimeError, KeyError, OverflowError, TypeError) as error:
        raise RefusedError(f"it cannot be written as safetensors ({_brief(error)})") from error


def _records(source: Path) -> Counter[int] | None:
    """The sizes of a file's parts; None if it cannot be mapped: compressed, or older than zip."""
    try:
        if not zipfile.is_zipfile(source):
            return None
        with zipfile.ZipFile(source) as archive:
            entries = archive.infolist()
    except Exception as error:  # whatever a damaged archive leads to
        raise RefusedError(f"it cannot be read ({_brief(error)})") from error
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        return None
    return Counter(entry.file_size for entry in entries)


def _storages(tensors: "dict[str, Tensor]") -> Counter[int]:
    """The sizes of the memory of tensors. Mapped, torch does not compare them with the file's."""
    found = [tensor.untyped_storage() for tensor in tensors.values()]
    return Counter({s.data_ptr(): s.nbytes() for s in found if s.nbytes()}.values())


def _named_tensors(content: object) -> "dict[str, Tensor]":
    """The tensors by name, none of which shares memory with another."""
    import torch

    if not isinstance(content, dict):
        raise RefusedError(f"it holds {_kind(content)} instead of named tensors")
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, value in content.items():
        plain = isinstance(name, str) and name != "__metadata__"  # a name of the format's own
        if not plain or not isinstance(value, torch.Tensor):
            raise RefusedError(f"it holds {_kind(value)} under {one_line(repr(name), 80)}; {ONLY}")
        if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
            raise RefusedError(f"'{one_line(name, 80)}' is not a plain tensor")
        storage = value.untyped_storage()
        if value.numel() * value.element_size() > storage.nbytes():
            raise RefusedError(f"'{one_line(name, 80)}' has more elements than the file holds")
        whole = value.detach().resolve_conj().resolve_neg().contiguous()
        shared = storage.nbytes() > 0 and storage.data_ptr() in seen
        found[name] = whole.clone() if shared else whole
        seen.add(storage.data_ptr())
    if not found:
        raise RefusedError("it holds no tensors")
    return found


ONLY = "only named tensors are read"


def _kind(value: object) -> str:
    return f"an object of type {type(value).__name__}"


def _reason(source: Path, error: Exception) -> str:
    """Why torch refuses the file: the names of what it would have to import, if there are any."""
    names = sorted({*_imports(source), *re.findall(r"GLOBAL (\S+) ", str(error))})
    if names:
        shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
        return f"it holds more than tensors: {one_line(shown, 200)}; {ONLY}"
    return f"torch cannot read it ({_brief(error)})"


def _imports(source: Path) -> list[str]:
    import torch

    try:
        return torch.serialization.get_unsafe_globals_in_checkpoint(source)
    except Exception:  # not a zip file, or damaged
        return []


def _brief(error: BaseException) -> str:
    """The part of an error's message that is not about how to load the file in spite of it."""
    text = str(error).partition("Check the documentation of torch.load")[0]
    text = text.rpartition("WeightsUnpickler error:")[2]
    return one_line(f"{type(error).__name__}: {text}", 200)


def _refuse(why: str) -> NoReturn:
    print(one_line(why, 400))
    sys.exit(REFUSED)


def main() -> None:
    """Confines this process, then converts the file that its arguments name."""
    source, target = (Path(argument) for argument in sys.argv[1:])
    confine.die_with_parent()
    confine.without_network()
    import torch

    if too_old(torch.__version__):
        _refuse(f"torch {torch.__version__} reads pickled weights with known holes ({HOLES})")
    size = source.stat().st_size
    confine.only_reading(2 * size + MARGIN, 2 * size + MARGIN)
    try:
        convert(source, target)
    except RefusedError as error:
        _refuse(str(error))
    except MemoryError:
        _refuse("it takes more than twice its size in memory")


if __name__ == "__main__":
    main()
