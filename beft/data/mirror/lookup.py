"""Find datasets and models in the mirror: copies of the hub on disk, and all that jobs read."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NotRequired, TypedDict

from beft.errors import UserError
from beft.models.pretrained import files_read
from beft.store.files import read_json
from beft.study import params as P
from beft.study.identity import WEIGHTS, cached_sha256, sha256
from beft.study.layout import Layout

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Piece:
    """A dataset or a model of the hub, at a pinned revision."""

    where: str  # the key of params.yaml that defines it
    hub: str  # its id on the hub
    revision: str  # its commit, tag or branch on the hub
    place: str  # its folder, relative to a mirror
    needed: tuple[str, ...]  # names of the files that must exist
    sha256: str | None = None  # the SHA-256 of the weights, if params.yaml pins it
    package: str | None = None  # the installed package to copy it from, instead of the hub

    @property
    def kind(self) -> str:
        return "dataset" if self.place.startswith("datasets/") else "model"

    def remedy(self, study: str = "") -> str:
        """Tells the user how to get it; the command names `study`, if one is given."""
        section, _, name = self.where.partition(".")
        chosen = f"--study {study} " if study else ""
        command = f"run 'beft fetch {chosen}--{section.removesuffix('s')} {name}'"
        return command if self.package else f"{command} where there is network, or copy it there"


def dataset_piece(name: str, task: P.Task, splits: Iterable[str]) -> Piece:
    """The hub dataset of a task, of which these splits are needed."""
    assert task.hub is not None and task.revision is not None  # checked by params.Task
    place = f"datasets/{task.hub}" + (f"/{task.config}" if task.config else "")
    needed = tuple(f"{split}.parquet" for split in splits)
    return Piece(f"tasks.{name}", task.hub, task.revision, place, needed)


def model_piece(alias: str, model: P.Model) -> Piece:
    """The hub model of an alias."""
    assert model.hub is not None and model.revision is not None  # checked by params.Model
    needed = ("config.json", WEIGHTS) if model.sha256 else ("config.json",)
    place = f"models/{model.hub}"
    pinned = (model.hub, model.revision, place, needed, model.sha256, model.package)
    return Piece(f"models.{alias}", *pinned)


def mirrors(root: Path) -> list[Path]:
    """The mirrors to search, in this order: `$BEFT_MIRROR` if it is set, then `data/mirror`.

    The first may be shared and read-only. Fetching writes to the last one.
    """
    local = Layout(root).mirror
    shared = os.environ.get("BEFT_MIRROR")
    return [Path(shared).resolve(), local] if shared else [local]


class Entry(TypedDict):
    """What the manifest of a mirror records of a dataset or model."""

    revision: str
    sha256: dict[str, str]  # file name -> checksum
    pickled: NotRequired[dict[str, str]]  # the files that weights were converted from, likewise
    parquet: NotRequired[str]  # the commit of the hub's conversion that a dataset was taken from


def read_manifest(mirror: Path) -> dict[str, Entry]:
    """What was fetched to a mirror: an entry for each folder.

    Raises:
        UserError: if the manifest is damaged.
    """
    path = mirror / MANIFEST
    entries = read_json(path) if path.exists() else {}
    sound = isinstance(entries, dict) and all(
        isinstance(e, dict) and {"revision", "sha256"} <= e.keys() for e in entries.values()
    )
    if not sound:
        raise UserError(f"{path}: damaged (expected place: {{revision, sha256}})")
    return entries


def _obstacle(mirror: Path, piece: Piece) -> str | None:
    """Why a mirror does not have a dataset or model; None if it has it.

    A copy that the manifest does not list was put there by hand, and counts as it is.

    Raises:
        UserError: if a file differs from the checksum in the manifest.
    """
    folder = mirror / piece.place
    absent = [name for name in piece.needed if not (folder / name).is_file()]
    if absent:
        return f"without {', '.join(absent)}" if folder.is_dir() else "absent"
    entry = read_manifest(mirror).get(piece.place)
    if entry is not None:
        if entry["revision"] != piece.revision:
            return f"of revision {entry['revision']}"
        for name, expected in sorted(entry["sha256"].items()):
            if piece.kind == "model" or name in piece.needed:
                _check_file(folder / name, expected, mirror / MANIFEST)
    if piece.sha256 and cached_sha256(folder / WEIGHTS) != piece.sha256:
        return "with other weights than the pinned sha256"
    return None


def _check_file(path: Path, expected: str, manifest: Path) -> None:
    if not path.is_file() or cached_sha256(path) != expected:
        how = "sha256 differs from" if path.is_file() else "it is missing; see"
        raise UserError(
            f"{path}: not the file that was fetched ({how} {manifest}); "
            f"restore it, or delete {path.parent} and fetch again"
        )


def find(root: Path, piece: Piece) -> Path | None:
    """The folder of a dataset or model in the first mirror that has it as pinned, or None.

    Raises:
        UserError: if a file differs from the checksum in its mirror's manifest.
    """
    found = (m / piece.place for m in mirrors(root) if _obstacle(m, piece) is None)
    return next(found, None)


def lack(root: Path, piece: Piece) -> str:
    """Tells in one line that no mirror has a dataset or model, and why each has not."""
    looked = " and ".join(f"{m / piece.place} ({_obstacle(m, piece)})" for m in mirrors(root))
    return (
        f"{piece.where}: {piece.hub} of revision {piece.revision} is not in the mirror "
        f"(looked for {looked})"
    )


def locate(root: Path, marker: Path) -> Path:
    """The folder of a fetched model, after its files were checked against the list in its marker.

    Raises:
        UserError: if no mirror has the model any more, or its files differ.
    """
    wrong = _wrong_files(root, marker)
    for folder, files in wrong.items():
        if not files:
            _check_listed(folder, marker)
            return folder
    first = next(files[0] for files in wrong.values())
    raise UserError(
        f"{first}: missing, or not what was fetched (sha256 differs from {marker}); restore it, or "
        "pin the new revision in params.yaml and fetch again"
    )


def _check_listed(folder: Path, marker: Path) -> None:
    """Checks that nothing would be loaded from a model's folder that its marker does not list."""
    listed = read_json(marker)["sha256"]
    for path in files_read(folder):
        if path.name not in listed:
            raise UserError(
                f"{path}: not among the files that were fetched ({marker}), but would be loaded; "
                "remove it, or delete the marker and fetch again"
            )


def altered(root: Path, marker: Path) -> Path | None:
    """The first file of a fetched model that has changed, after hashing all of them.

    None if a mirror has an unchanged copy, or if none has any, because results do not need weights.
    """
    wrong = _wrong_files(root, marker, sha256)
    if not all(wrong.values()):
        return None
    return next((path for files in wrong.values() for path in files if path.is_file()), None)


def _wrong_files(
    root: Path, marker: Path, hashed: Callable[[Path], str] = cached_sha256
) -> dict[Path, list[Path]]:
    """For each folder that may hold a fetched model, its files that are missing or have changed."""
    fetched = read_json(marker)
    if "path" in fetched:
        folders = [(root / fetched["path"]).resolve()]
    else:
        folders = [mirror / fetched["mirror"] for mirror in mirrors(root)]
    return {
        folder: [
            folder / name
            for name, expected in fetched["sha256"].items()
            if not (folder / name).is_file() or hashed(folder / name) != expected
        ]
        for folder in folders
    }
