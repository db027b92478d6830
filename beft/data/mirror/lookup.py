"""The mirror: datasets and models as the hub has them, on disk; the only place jobs read from."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from beft.errors import UserError
from beft.store.files import read_json
from beft.study import params as P
from beft.study.identity import cached_sha256, sha256
from beft.study.layout import Layout

MANIFEST = "manifest.json"
WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Piece:
    """A dataset or a model of the hub, and what is pinned of it.

    Attributes:
        where: the key of params.yaml that defines it.
        place: its folder below a mirror.
        needed: the files without which it is not there.
        sha256: of the weights, where they are pinned too.
        package: the installed package that carries it, where the hub does not.
    """

    where: str
    hub: str
    revision: str
    place: str
    needed: tuple[str, ...]
    sha256: str | None = None
    package: str | None = None

    @property
    def kind(self) -> str:
        return "dataset" if self.place.startswith("datasets/") else "model"

    def remedy(self, study: str = "") -> str:
        """What brings it; `study` is named where it is not the one of params.yaml."""
        section, _, name = self.where.partition(".")
        chosen = f"--study {study} " if study else ""
        command = f"run 'beft fetch {chosen}--{section.removesuffix('s')} {name}'"
        return command if self.package else f"{command} where there is network, or copy it there"


def dataset_piece(name: str, task: P.Task, splits: Iterable[str]) -> Piece:
    """What a task reads of its dataset."""
    place = f"datasets/{task.hub}" + (f"/{task.config}" if task.config else "")
    needed = tuple(f"{split}.parquet" for split in splits)
    return Piece(f"tasks.{name}", task.hub, task.revision, place, needed)


def model_piece(alias: str, model: P.Model) -> Piece:
    """A model of the hub, or of a package."""
    needed = ("config.json", WEIGHTS) if model.sha256 else ("config.json",)
    place = f"models/{model.hub}"
    what = (model.hub, model.revision, place, needed, model.sha256, model.package)
    return Piece(f"models.{alias}", *what)


def mirrors(root: Path) -> list[Path]:
    """Where to look, in order: `$BEFT_MIRROR`, then `data/mirror` (the place of what is fetched).

    A shared mirror may be read-only; what it lacks is fetched to `data/mirror`.
    """
    own = Layout(root).mirror
    given = os.environ.get("BEFT_MIRROR")
    return [own] if not given else [Path(given).resolve(), own]


def read_manifest(mirror: Path) -> dict:
    """What was fetched to a mirror: place -> revision and sha256 of each file.

    Raises:
        UserError: when it is damaged.
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
    """Why a mirror does not serve; None when it does. Without an entry, a copy is taken as is.

    Raises:
        UserError: when a file is not what the manifest says was fetched.
    """
    folder = mirror / piece.place
    absent = [name for name in piece.needed if not (folder / name).is_file()]
    if absent:
        return f"without {', '.join(absent)}" if folder.is_dir() else "absent"
    entry = read_manifest(mirror).get(piece.place)
    if entry is not None:
        if entry["revision"] != piece.revision:
            return f"of revision {entry['revision']}"
        sums = entry["sha256"]
        _check_files(mirror, piece, sums if piece.kind == "model" else sums.keys() & piece.needed)
    if piece.sha256 and cached_sha256(folder / WEIGHTS) != piece.sha256:
        return "with other weights than the pinned sha256"
    return None


def _check_files(mirror: Path, piece: Piece, names: Iterable[str]) -> None:
    sums = read_manifest(mirror)[piece.place]["sha256"]
    folder = mirror / piece.place
    for name in sorted(names):
        path = folder / name
        if not path.is_file() or cached_sha256(path) != sums[name]:
            how = "sha256 differs from" if path.is_file() else "it is missing; see"
            raise UserError(
                f"{path}: not the file that was fetched ({how} {mirror / MANIFEST}); "
                f"restore it, or delete {folder} and fetch again"
            )


def find(root: Path, piece: Piece) -> Path | None:
    """The folder of a piece in the first mirror that holds what is pinned; None if none does.

    Raises:
        UserError: when a file on the way is not what was fetched.
    """
    serving = (m / piece.place for m in mirrors(root) if _obstacle(m, piece) is None)
    return next(serving, None)


def lack(root: Path, piece: Piece) -> str:
    """One line on a piece that no mirror holds: what, and where it was looked for."""
    looked = " and ".join(f"{m / piece.place} ({_obstacle(m, piece)})" for m in mirrors(root))
    return (
        f"{piece.where}: {piece.hub} of revision {piece.revision} is not in the mirror "
        f"(looked for {looked})"
    )


def find_dataset(root: Path, task: P.Task, splits: list[str]) -> dict[str, Path] | None:
    """The parquet file of each split in the first mirror that has them all; None if none has."""
    folder = find(root, dataset_piece("", task, splits))
    return folder and {split: folder / f"{split}.parquet" for split in splits}


def find_model(root: Path, model: P.Model) -> Path | None:
    """The model's folder in the first mirror that holds this very model; None if none does."""
    return find(root, model_piece("", model))


def locate(root: Path, marker: Path) -> Path:
    """The folder of a fetched model; its files are what the marker says was fetched.

    Raises:
        UserError: when no mirror holds it any more, or holds something else.
    """
    wrong = _wrong_files(root, marker)
    for folder, files in wrong.items():
        if not files:
            return folder
    first = next(files[0] for files in wrong.values())
    raise UserError(
        f"{first}: missing, or not what was fetched (sha256 differs from {marker}); restore it, or "
        "pin the new revision in params.yaml and fetch again"
    )


def altered(root: Path, marker: Path) -> Path | None:
    """The first file of a fetched model that is not what was fetched any more; hashes them all.

    None when a sound copy is there, or none at all: results outlive the weights they came from.
    """
    wrong = _wrong_files(root, marker, sha256)
    if not all(wrong.values()):
        return None
    return next((path for files in wrong.values() for path in files if path.is_file()), None)


def _wrong_files(
    root: Path, marker: Path, hashed: Callable[[Path], str] = cached_sha256
) -> dict[Path, list[Path]]:
    """Every folder that may hold a fetched model -> its files that are missing or different."""
    said = read_json(marker)
    if "path" in said:
        folders = [(root / said["path"]).resolve()]
    else:
        folders = [mirror / said["mirror"] for mirror in mirrors(root)]
    return {
        folder: [
            folder / name
            for name, expected in said["sha256"].items()
            if not (folder / name).is_file() or hashed(folder / name) != expected
        ]
        for folder in folders
    }
