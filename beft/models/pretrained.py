"""Check that a directory is a whole checkpoint, before a library reads it: files only, no model."""

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open

from beft.errors import UserError

_WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")


def check_checkpoint(path: Path, label: str) -> None:
    """Check that config.json, sound safetensors weights and a tokenizer's vocabulary are in `path`.

    Args:
        path: The checkpoint's directory.
        label: What messages call the model.

    Raises:
        UserError: Something is missing, truncated or corrupt.
    """
    if not path.is_dir():
        raise UserError(f"{label}: there is no such directory; fetch the model or correct its path")
    if not (path / "config.json").is_file():
        raise UserError(f"{label}: no config.json in it; it holds {_listing(path)}")
    if "model_type" not in _read_json(path / "config.json", label):
        raise UserError(f"{label}: config.json has no 'model_type'; fetch it again")
    for weights in _weight_files(path, label):
        _check_safetensors(weights, label)
    # Without a vocabulary, transformers makes up a tokenizer that knows no words.
    if not any(any(path.glob(pattern)) for pattern in _VOCABULARIES):
        raise UserError(
            f"{label}: its tokenizer is missing (tokenizer.json, vocab.txt, vocab.json or a .model "
            f"file); it holds {_listing(path)}"
        )


def _weight_files(path: Path, label: str) -> list[Path]:
    if (path / _WEIGHTS).is_file():
        return [path / _WEIGHTS]
    if not (path / _INDEX).is_file():
        raise UserError(f"{label}: {_no_weights(path)}")
    parts = _read_json(path / _INDEX, label).get("weight_map")
    if not isinstance(parts, dict) or not all(isinstance(part, str) for part in parts.values()):
        raise UserError(f"{label}: {_INDEX} has no 'weight_map' of file names; fetch it again")
    files = [path / part for part in sorted(set(parts.values()))]
    for file in files:
        if not file.is_file():
            raise UserError(f"{label}: {_INDEX} names {file.name}, which is missing; fetch it")
    return files


def _no_weights(path: Path) -> str:
    pickled = sorted(file.name for pattern in _PICKLED for file in path.glob(pattern))
    if pickled:
        return (
            f"its weights are pickled ({', '.join(pickled)}), which can run code when read; "
            f"{_WEIGHTS} is needed: on a machine where you trust the file, load it with "
            "transformers' from_pretrained and write it with save_pretrained"
        )
    return f"no weights ({_WEIGHTS}) in it; it holds {_listing(path)}"


def _check_safetensors(file: Path, label: str) -> None:
    """Opening reads the header and compares it with the file's size."""
    try:
        with safe_open(file, framework="np"):
            pass
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{label}: {file.name} is truncated or corrupt ({file.stat().st_size} bytes: {error}); "
            "fetch it again"
        ) from error


def _read_json(file: Path, label: str) -> dict:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{label}: {file.name} is corrupt ({error}); fetch it again") from error
    if not isinstance(content, dict):
        raise UserError(f"{label}: {file.name} is corrupt (not a mapping); fetch it again")
    return content


def _listing(path: Path, most: int = 8) -> str:
    names = sorted(entry.name for entry in path.iterdir())
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}" if names else "nothing"
