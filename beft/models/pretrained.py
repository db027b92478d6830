"""Find the files of a checkpoint that are read, and check them: files only, no library, no model.

Whatever loads a model reads what is named here, and nothing else of its folder.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from safetensors import SafetensorError, safe_open

from beft.errors import UserError, one_line
from beft.models.config_file import CONFIG, check_config, check_tokenizer_config

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
_SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_ADAPTER = "adapter_config.json"
_TOKENIZER_CONFIG = "tokenizer_config.json"
# Files that hold a tokenizer's words; transformers reads those that the tokenizer's class knows.
_VOCABULARIES = (
    *("tokenizer.json", "vocab.json", "vocab.txt", "dict.txt"),
    *("tokenizer.model", "spiece.model", "spm.model"),
    *("sentencepiece.bpe.model", "sentencepiece.model"),
)
_TOKENIZER = (
    *_VOCABULARIES,
    *(_TOKENIZER_CONFIG, "special_tokens_map.json", "added_tokens.json", "merges.txt"),
)
_MOST = 2**26  # bytes of a JSON file that is read whole: an index of 500,000 tensors has half


@dataclass(frozen=True)
class Stored:
    """A tensor in a file of weights."""

    file: Path
    dtype: str  # as safetensors names it, such as F16
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Checkpoint:
    """The files of a model's folder that are read."""

    folder: Path
    config: dict  # the content of config.json
    weights: tuple[Path, ...]  # the files of weights, each in the folder itself
    tensors: dict[str, Stored]  # every tensor of these files
    tokenizer: tuple[str, ...]  # the names of the tokenizer's files

    @contextmanager
    def view(self) -> Iterator[Path]:
        """A temporary folder that shows config.json and the tokenizer's files, and no other.

        Without `auto_map`, which names code: what reads this folder cannot ask for any.
        """
        with TemporaryDirectory(prefix="beft-") as name:
            shown = {key: value for key, value in self.config.items() if key != "auto_map"}
            (Path(name) / CONFIG).write_text(json.dumps(shown), encoding="utf-8")
            for file in self.tokenizer:
                (Path(name) / file).symlink_to((self.folder / file).resolve())
            yield Path(name)


def check_checkpoint(path: Path, label: str) -> Checkpoint:
    """Find the files of the checkpoint in `path` that are read, and check that they are sound.

    Args:
        path: The checkpoint's directory.
        label: What messages call the model.

    Raises:
        UserError: Something is missing, truncated or corrupt, or the folder holds something that
            changes the model and is not supported, such as an adapter.
    """
    if not path.is_dir():
        raise UserError(f"{label}: there is no such directory; fetch the model or correct its path")
    if not (path / CONFIG).is_file():
        raise UserError(f"{label}: no {CONFIG} in it; it holds {_listing(path)}")
    if (path / _ADAPTER).exists():
        raise UserError(
            f"{label}: {_ADAPTER} lies beside the weights, and adapters are not applied: merge it "
            "into the weights with PEFT's merge_and_unload and save_pretrained, or remove it"
        )
    weights = _weight_files(path, label)
    tensors = _tensors(weights, label)
    config = _read_json(path / CONFIG, label)
    check_config(config, len(tensors), label)
    tokenizer = tuple(name for name in _TOKENIZER if (path / name).is_file())
    # Without a vocabulary, transformers makes up a tokenizer that knows no words.
    if not set(tokenizer) & set(_VOCABULARIES):
        raise UserError(
            f"{label}: its tokenizer is missing (one of {', '.join(_VOCABULARIES)}); it holds "
            f"{_listing(path)}"
        )
    if _TOKENIZER_CONFIG in tokenizer:
        check_tokenizer_config(_read_json(path / _TOKENIZER_CONFIG, label), label)
    return Checkpoint(path, config, weights, tensors, tokenizer)


def files_read(folder: Path) -> list[Path]:
    """The files of a folder that decide what is loaded from it; an index names further weights."""
    names = (CONFIG, WEIGHTS, INDEX, *_TOKENIZER)
    return [folder / name for name in names if (folder / name).is_file()]


def _weight_files(path: Path, label: str) -> tuple[Path, ...]:
    """model.safetensors, or the files that the index names; the folder must not hold both."""
    if (path / INDEX).is_file():
        names = _indexed(path, label)
    elif (path / WEIGHTS).is_file():
        names = [WEIGHTS]
    else:
        raise UserError(f"{label}: {_no_weights(path)}")
    shards = (p.name for p in path.iterdir() if p.name == WEIGHTS or _SHARD.fullmatch(p.name))
    other = sorted(set(shards) - set(names))
    if other:
        used = f"those that {INDEX} names" if (path / INDEX).is_file() else WEIGHTS
        raise UserError(
            f"{label}: it holds two sets of weights: {used}, and {other[0]}; keep one of them"
        )
    return tuple(path / name for name in names)


def _indexed(path: Path, label: str) -> list[str]:
    """The names of the files that the index lists."""
    parts = _read_json(path / INDEX, label).get("weight_map")
    if not parts or not isinstance(parts, dict) or not all(map(_is_text, parts.values())):
        raise UserError(f"{label}: {INDEX} has no 'weight_map' of file names; fetch it again")
    names = sorted(set(parts.values()))
    for name in names:
        if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*\.safetensors", name):
            raise UserError(
                f"{label}: {INDEX} names {one_line(ascii(name), 100)}: weights must be safetensors "
                "files in the same folder; move them there and correct the names"
            )
        if not (path / name).is_file():
            raise UserError(f"{label}: {INDEX} names {name}, which is missing; fetch it")
    return names


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _no_weights(path: Path) -> str:
    pickled = sorted(file.name for pattern in _PICKLED for file in path.glob(pattern))
    if pickled:
        return (
            f"its weights are pickled ({', '.join(pickled)}), which can run code when read; "
            f"{WEIGHTS} is needed: give the model's 'hub' id, and 'beft fetch' converts it; or run "
            f"'python -m beft.data.mirror.unpickle {pickled[0]} {WEIGHTS}' there"
        )
    return f"no weights ({WEIGHTS}) in it; it holds {_listing(path)}"


def _tensors(files: tuple[Path, ...], label: str) -> dict[str, Stored]:
    """Every tensor of the files. Opening reads a header and compares it with the file's size."""
    found: dict[str, Stored] = {}
    for file in files:
        try:
            with safe_open(file, framework="np") as opened:
                for name in opened.keys():  # noqa: SIM118  # an opened file is no mapping
                    part = opened.get_slice(name)
                    if name in found:
                        raise UserError(
                            f"{label}: {found[name].file.name} and {file.name} both hold the "
                            f"weight '{one_line(name, 100)}'; fetch them again"
                        )
                    found[name] = Stored(file, part.get_dtype(), tuple(part.get_shape()))
        except (SafetensorError, OSError) as error:
            size = file.stat().st_size
            raise UserError(
                f"{label}: {file.name} is truncated or corrupt ({size} bytes: "
                f"{one_line(error, 200)}); fetch it again"
            ) from error
    return found


def _read_json(file: Path, label: str) -> dict:
    try:
        if file.stat().st_size > _MOST:
            raise ValueError(f"more than {_MOST // 2**20} MB")
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"{label}: {file.name} is corrupt ({one_line(error, 200)}); fetch it again"
        ) from error
    if not isinstance(content, dict):
        raise UserError(f"{label}: {file.name} is corrupt (not a mapping); fetch it again")
    return content


def _listing(path: Path, most: int = 8) -> str:
    names = sorted(ascii(entry.name)[1:-1] for entry in path.iterdir())
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}" if names else "nothing"
