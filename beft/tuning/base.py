"""Find the model that an adapter was tuned on, and check that it is that one."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from beft.errors import UserError, one_line
from beft.models.pretrained import check_checkpoint, files_read
from beft.study.identity import cached_sha256
from beft.tuning.adapter_format import Base


def sums_of(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file that is read of a model's folder.

    Raises:
        UserError: it is no checkpoint, or a damaged one.
    """
    weights = check_checkpoint(folder, f"model {folder}").weights
    names = sorted({path.name for path in (*files_read(folder), *weights)})
    return {name: cached_sha256(folder / name) for name in names}


def find_base(base: Base, adapter: Path, given: Path | None = None) -> Path:
    """The folder of the model that an adapter was tuned on.

    It is looked for where the adapter says, in $BEFT_MIRROR and in the cache of the hub's library;
    only if it is in none of them, it is downloaded.

    Args:
        adapter: the adapter's folder.
        given: the only folder to take.

    Raises:
        UserError: there is none, or its files are others than those of the model that was tuned.
    """
    if given is not None:
        if problem := _difference(base, given):
            raise UserError(f"{problem}; {adapter} was tuned on {base.name}: give that model")
        return given
    looked = []
    for place in _places(base, adapter):
        problem = _difference(base, place)
        if problem is None:
            return place
        looked.append(problem)
    if base.hub is not None:
        try:
            place = _cached(base, offline=False)
        except Exception as error:  # whatever the hub's library raises
            looked.append(f"the hub: {one_line(f'{type(error).__name__}: {error}', 200)}")
        else:
            problem = _difference(base, place)
            if problem is None:
                return place
            looked.append(problem)
    raise UserError(
        f"{adapter}: its base model, {base.name}, is not found ({'; '.join(looked)}); give its "
        "folder with --base"
    )


def _places(base: Base, adapter: Path) -> Iterator[Path]:
    """Where the model may lie on this machine."""
    if base.path is not None:
        yield (adapter.resolve() / base.path).resolve()
    if base.hub is not None:
        if mirror := os.environ.get("BEFT_MIRROR"):
            yield Path(mirror).resolve() / "models" / base.hub
        with suppress(Exception):  # it is not there
            yield _cached(base, offline=True)


def _cached(base: Base, offline: bool) -> Path:
    from huggingface_hub import snapshot_download

    assert base.hub is not None
    return Path(
        snapshot_download(
            base.hub,
            revision=base.revision,
            allow_patterns=sorted(base.sha256),
            local_files_only=offline,
        )
    )


def _difference(base: Base, folder: Path) -> str | None:
    """How a folder differs from the model that was tuned; None if it does not."""
    if not folder.is_dir():
        return f"{folder}: no such folder"
    for name, expected in sorted(base.sha256.items()):
        path = folder / Path(name).name
        if not path.is_file():
            return f"{path}: missing"
        if cached_sha256(path) != expected:
            return f"{path}: not the file that the adapter was tuned on (another SHA-256)"
    for path in files_read(folder):
        if path.name not in base.sha256:
            return f"{path}: not a file of the model that the adapter was tuned on"
    return None
