"""Into the mirror whole or not at all: a place beside it to fetch to, one fetch at a time."""

import logging
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from beft.data.mirror.hub import failure
from beft.data.mirror.lookup import MANIFEST, Piece, find, mirrors, read_manifest
from beft.data.mirror.transfers import Transfer
from beft.errors import UserError
from beft.store.files import explain_os_errors, to_json, write_file
from beft.store.locks import Lock
from beft.study.identity import cached_sha256

log = logging.getLogger(__name__)

STAGING = ".fetching"  # in the mirror: what is not whole yet, and goes on at the next call
# Fills a folder with the files of a piece, and returns the one to put in place.
Prepare = Callable[[Path, Transfer], Path]


def fill(root: Path, piece: Piece, prepare: Prepare, transfer: Transfer) -> Path:
    """Fetches into `data/mirror` by way of a staging folder, which a later call goes on with.

    Returns:
        The folder in the mirror.
    """
    mirror = mirrors(root)[-1]
    staging = mirror / STAGING / piece.place.replace("/", "--")
    # Another fetch of it waits, and then finds what this one brought.
    with _alone(staging, f"{piece.where}: {piece.hub} is being fetched") as held:
        found = find(root, piece)
        if found is not None:  # by whoever was fetching it meanwhile
            return found
        transfer.step = "fetching"
        log.info("%s: fetching %s to %s", piece.where, piece.hub, mirror / piece.place)
        ready = _prepared(piece, staging / piece.revision, prepare, transfer)
        held.check()
        _put_in_place(mirror, piece, ready)
        shutil.rmtree(staging, ignore_errors=True)
    return mirror / piece.place


def _prepared(piece: Piece, staging: Path, prepare: Prepare, transfer: Transfer) -> Path:
    with explain_os_errors(staging):
        staging.mkdir(parents=True, exist_ok=True)
    try:
        return prepare(staging, transfer)
    except UserError:
        raise
    except Exception as error:  # whatever the hub's libraries raise
        raise failure(piece, error) from error


def _put_in_place(mirror: Path, piece: Piece, ready: Path) -> None:
    """Notes revision and sha256 of what was fetched, and moves it to its place."""
    target = mirror / piece.place
    sums = {p.relative_to(ready).as_posix(): cached_sha256(p) for p in sorted(ready.iterdir())}
    with explain_os_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            if piece.kind == "dataset":
                sums = _keep_other_splits(mirror, piece, ready) | sums
            _put_aside(target)
        # Noted before it is in place: what the manifest does not know is taken as it is.
        _note(mirror, {piece.place: {"revision": piece.revision, "sha256": sums}})
        ready.rename(target)


def _keep_other_splits(mirror: Path, piece: Piece, ready: Path) -> dict[str, str]:
    """Copies the splits that are there and were not fetched; returns what is known of them."""
    kept = read_manifest(mirror).get(piece.place, {"revision": piece.revision, "sha256": {}})
    if kept["revision"] != piece.revision:
        return {}
    for path in (mirror / piece.place).glob("*.parquet"):
        if not (ready / path.name).exists():
            shutil.copyfile(path, ready / path.name)
    return kept["sha256"]


def _put_aside(folder: Path) -> None:
    """Nothing that somebody put into the mirror is deleted: it stays, under another name."""
    number = 1
    while (aside := folder.with_name(f".{folder.name}.replaced-{number}")).exists():
        number += 1
    folder.rename(aside)


def _note(mirror: Path, entry: dict) -> None:
    """Adds to the manifest; several fetches may run at once."""
    with _alone(mirror / STAGING / "manifest"):
        write_file(mirror / MANIFEST, to_json({**read_manifest(mirror), **entry}))


@contextmanager
def _alone(path: Path, waiting: str = "") -> Iterator[Lock]:
    """Waits until nobody else holds what a path stands for, and holds it."""
    held = Lock(path.with_name(f"{path.name}.lock"))
    owner = held.take()
    if owner and waiting:
        log.info("%s by %s; waiting", waiting, owner)
    while owner:
        time.sleep(0.1)
        owner = held.take()
    try:
        yield held
    finally:
        held.release()
