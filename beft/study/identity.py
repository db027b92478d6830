"""Digests of plain data and of files, and the identity of local datasets and models."""

import hashlib
import io
import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from beft.errors import UserError

SMALL = 2**16  # bytes: for less than this, the buffer of `file_digest` takes longer than its work
FORMATS = ("parquet", "jsonl", "csv")
WEIGHTS = "model.safetensors"  # the file whose SHA-256 params.yaml may pin
MODEL_SUFFIXES = (".json", ".safetensors", ".txt", ".model")
# Ending of a file that is not read -> what to do; for all others: save it as csv.
_ADVICE = {
    "json": "write one object in each line, as jsonl",
    **dict.fromkeys(("gz", "zip", "xz", "bz2", "zst"), "unpack it"),
}


def digest(data: object) -> str:
    """16 hexadecimal digits of the SHA-256 of the canonical JSON of plain data."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    return hashed(path)[0]


def hashed(path: str | Path) -> tuple[str, bytes | None]:
    """Hexadecimal SHA-256 of a file's bytes, and the bytes themselves if they are few."""
    with io.FileIO(path) as file:
        if os.fstat(file.fileno()).st_size <= SMALL:
            content = file.readall()
            return hashlib.sha256(content).hexdigest(), content
        return hashlib.file_digest(file, "sha256").hexdigest(), None


def split_file(folder: Path, split: str) -> Path:
    """The file of a split in a local dataset: named after it, parquet, jsonl or csv.

    Raises:
        UserError: when there is none, or more than one.
    """
    found = [p for ext in FORMATS if (p := folder / f"{split}.{ext}").is_file()]
    if len(found) != 1:
        names = sorted(p.name for p in folder.iterdir() if p.is_file())
        what = "has no file for" if not found else "has more than one file for"
        advice = "" if found else _advice(names, split)
        raise UserError(
            f"{folder} {what} split '{split}' (expected one of {split}.parquet, {split}.jsonl, "
            f"{split}.csv; found {', '.join(names) or 'nothing'}){advice}"
        )
    return found[0]


def _advice(names: list[str], split: str) -> str:
    """How to bring a split's file into a format that is read; empty if there is none."""
    for name in names:
        ending = name.rpartition(".")[2].lower()
        if not name.lower().startswith(f"{split.lower()}."):
            continue
        if ending in FORMATS:
            return f"; rename {name} to {split}.{ending}"
        advice = _ADVICE.get(ending, "save it as csv, with commas and in UTF-8")
        return f"; {name} cannot be read: {advice}"
    return ""


def model_files(folder: Path) -> list[Path]:
    """The files of a model folder that decide what it computes: config, tokenizer, weights."""
    return sorted(p for p in folder.iterdir() if p.is_file() and p.suffix in MODEL_SUFFIXES)


def model_identity(folder: Path) -> str:
    """Identity of a local model: names and contents of its files."""
    return content_of({path.name: cached_sha256(path) for path in model_files(folder)})


def content_of(sums: Mapping[str, str]) -> str:
    """Identity of a local model whose files have these checksums."""
    parts = [f"{name} {value}" for name, value in sorted(sums.items())]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def cached_sha256(path: Path) -> str:
    """`sha256`, remembered for as long as the file's inode, size and times stay the same.

    Weights of many gigabytes are hashed once, not at every start of every job. The memory is one
    small file per hashed file in the user's cache; when it cannot be written, nothing is lost.
    """
    path = path.resolve()
    stat = path.stat()
    state = [str(path), stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111
    entry = Path(caches) / "beft" / "sha256" / hashlib.sha256(str(path).encode()).hexdigest()
    try:
        known = json.loads(entry.read_text())
        if known["state"] == state:
            return known["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    value = sha256(path)
    with suppress(OSError):
        _remember(entry, json.dumps({"state": state, "sha256": value}))
    return value


def _remember(entry: Path, text: str) -> None:
    entry.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=entry.parent)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
        Path(name).replace(entry)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
