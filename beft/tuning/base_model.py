"""Find a pretrained model: one that a user names, or the one that an adapter was tuned on."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from beft.data.mirror.lookup import mirrors, read_manifest
from beft.errors import UserError, one_line
from beft.models.pretrained import check_checkpoint, files_read
from beft.study.fields import NAME
from beft.study.identity import cached_sha256
from beft.tuning.adapter_format import Base

PATTERNS = ("*.json", "*.safetensors", "*.txt", "*.model")  # never pickles, never code


@dataclass(frozen=True)
class NamedModel:
    """A pretrained model on this machine."""

    folder: Path
    hub: str | None = None  # its id on the hub, if it has one
    revision: str | None = None  # its commit there, if known

    def __str__(self) -> str:
        return self.hub or str(self.folder)


def find_named(name: str) -> NamedModel:
    """The model of a name: a folder; else `owner/name` or `owner/name@revision` of the hub.

    Raises:
        UserError: it is nowhere, or is no usable checkpoint.
    """
    folder = Path(name)
    with suppress(RuntimeError):  # the home of nobody
        folder = folder.expanduser()
    if name and folder.is_dir():
        check_checkpoint(folder, f"--model {name}")
        return NamedModel(folder.resolve())
    hub, _, revision = name.partition("@")
    parts = hub.split("/")
    if len(parts) > 2 or not all(NAME.fullmatch(part) for part in parts):
        raise UserError(f"--model {name}: no such folder, and no id of the hub (owner/name)")

    def flaw(copy: NamedModel, in_mirror: bool) -> str | None:
        if in_mirror and revision and copy.revision != revision:
            return f"{copy.folder}: of revision {copy.revision or 'unknown'}"
        return _unusable(copy.folder)

    found, flaws = _of_hub(hub, revision or None, PATTERNS, flaw)
    if found is None:
        raise UserError(
            f"--model {name}: no such folder, and no usable copy of that model of the hub "
            f"({'; '.join(flaws)}); check the name and the network, or give a folder"
        )
    return found


def find_base(base: Base, adapter: Path, given: Path | None = None) -> Path:
    """The folder of the model that an adapter was tuned on.

    It is looked for where the adapter says; a model of the hub as one that a user names.

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
    if base.path is not None:
        place = (adapter.resolve() / base.path).resolve()
        problem = _difference(base, place)
        if problem is None:
            return place
        looked.append(problem)
    if base.hub is not None:
        files = sorted(base.sha256)
        found, flaws = _of_hub(
            *(base.hub, base.revision, files), lambda copy, _: _difference(base, copy.folder)
        )
        if found is not None:
            return found.folder
        looked += flaws
    raise UserError(
        f"{adapter}: its base model, {base.name}, is not found ({'; '.join(looked)}); give its "
        "folder with --base"
    )


def sums_of(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file that is read of a model's folder.

    Raises:
        UserError: it is no checkpoint, or a damaged one.
    """
    weights = check_checkpoint(folder, f"model {folder}").weights
    names = sorted({path.name for path in (*files_read(folder), *weights)})
    return {name: cached_sha256(folder / name) for name in names}


def _of_hub(
    hub: str,
    revision: str | None,
    files: Sequence[str],
    flaw: Callable[[NamedModel, bool], str | None],
) -> tuple[NamedModel | None, list[str]]:
    """The first copy of a model of the hub without a flaw, and the flaws of those before it.

    Args:
        files: patterns of the files to fetch.
        flaw: what is wrong with a copy, which is in a mirror or not; None if nothing is.
    """
    flaws: list[str] = []
    for copy, in_mirror in _copies(hub, revision, files, flaws):
        problem = flaw(copy, in_mirror)
        if problem is None:
            return copy, flaws
        flaws.append(problem)
    return None, list(dict.fromkeys(flaws))


def _copies(
    hub: str, revision: str | None, files: Sequence[str], flaws: list[str]
) -> Iterator[tuple[NamedModel, bool]]:
    """Copies in the mirrors, then in the cache of Hugging Face; then it is fetched from the hub.

    Args:
        flaws: gets why it is not fetched.
    """
    for mirror in mirrors(Path()):
        entry = read_manifest(mirror).get(f"models/{hub}")
        folder = mirror.resolve() / "models" / hub
        yield NamedModel(folder, hub, entry["revision"] if entry else None), True

    from huggingface_hub import snapshot_download

    fetch = partial(snapshot_download, hub, revision=revision, allow_patterns=list(files))
    with suppress(Exception):  # it is not there; of what is there, files may be missing
        cached = Path(fetch(local_files_only=True))
        yield NamedModel(cached, hub, cached.name), False
    try:
        fetched = Path(fetch())
    except Exception as error:  # of network, of the hub, of its client: none is the program's
        flaws.append(f"the hub: {one_line(f'{type(error).__name__}: {error}', 200)}")
    else:
        yield NamedModel(fetched, hub, fetched.name), False


def _unusable(folder: Path) -> str | None:
    """Why a folder holds no usable checkpoint; None if it does."""
    if not folder.is_dir():
        return f"{folder}: no such folder"
    try:
        check_checkpoint(folder, str(folder))
    except UserError as error:
        return str(error).partition("\n")[0]
    return None


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
