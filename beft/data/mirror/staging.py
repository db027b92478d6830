"""Put datasets and models into the mirror: fetch to a staging folder first, one fetch at a time."""

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path

from beft.data.mirror.hub import failure
from beft.data.mirror.lookup import MANIFEST, Entry, Piece, find, mirrors, read_manifest
from beft.data.mirror.order import Order, Ready
from beft.data.mirror.transfers import Transfer
from beft.errors import UserError
from beft.store.files import explain_os_errors, set_aside, to_json, write_file
from beft.store.locks import alone
from beft.study.identity import cached_sha256

log = logging.getLogger(__name__)

STAGING = ".fetching"  # a folder in the mirror, for incomplete fetches that can continue


def staging_folder(root: Path, piece: Piece) -> Path:
    """Where an incomplete fetch of a dataset or model lies."""
    return mirrors(root)[-1] / STAGING / piece.place.replace("/", "--") / piece.revision


def fill(root: Path, order: Order, transfer: Transfer) -> Path:
    """Fetches a dataset or model to a staging folder, moves it into `data/mirror`, returns it.

    The staging folder of an interrupted fetch stays, and the next call continues there.
    """
    piece, mirror = order.piece, mirrors(root)[-1]
    staging = mirror / STAGING / piece.place.replace("/", "--")
    # If another process fetches it now, wait, and then find what that one has fetched.
    lock = staging.with_name(f"{staging.name}.lock")
    with alone(lock, f"{piece.where}: {piece.hub} is being fetched") as held:
        found = find(root, piece)
        if found is not None:
            return found
        transfer.step = "fetching"
        log.info("%s: fetching %s to %s", piece.where, piece.hub, mirror / piece.place)
        ready = _prepared(order, staging_folder(root, piece), transfer)
        held.check()
        _put_in_place(mirror, piece, ready)
        shutil.rmtree(staging, ignore_errors=True)
    return mirror / piece.place


def _prepared(order: Order, staging: Path, transfer: Transfer) -> Ready:
    with explain_os_errors(staging):
        staging.mkdir(parents=True, exist_ok=True)
    try:
        return order.prepare(staging, transfer)
    except UserError:
        raise
    except Exception as error:  # whatever the hub's libraries raise
        raise failure(order.piece, error) from error


def _put_in_place(mirror: Path, piece: Piece, made: Ready) -> None:
    """Records revision and checksums in the manifest, and moves the folder into the mirror."""
    target, ready = mirror / piece.place, made.folder
    sums = {p.relative_to(ready).as_posix(): cached_sha256(p) for p in sorted(ready.iterdir())}
    with explain_os_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            if piece.kind == "dataset":
                sums = _keep_other_splits(mirror, piece, made) | sums
            # The user may still need the old folder.
            set_aside(target, target.with_name(f".{target.name}.replaced"))
        # The manifest first: a folder that it does not list counts as put there by hand.
        _note(mirror, {piece.place: {"revision": piece.revision, "sha256": sums, **made.origin}})
        ready.rename(target)


def _keep_other_splits(mirror: Path, piece: Piece, made: Ready) -> dict[str, str]:
    """Copies splits of the same commit that were not fetched now; returns all known checksums."""
    kept = read_manifest(mirror).get(piece.place)
    if kept is not None:
        commits = kept["revision"], kept.get("parquet")
        if commits != (piece.revision, made.origin.get("parquet")):
            return {}
    for path in (mirror / piece.place).glob("*.parquet"):
        if not (made.folder / path.name).exists():
            shutil.copyfile(path, made.folder / path.name)
    return kept["sha256"] if kept is not None else {}


def _note(mirror: Path, entry: Mapping[str, Entry]) -> None:
    """Adds to the manifest, under a lock because several fetches may run at once."""
    with alone(mirror / STAGING / "manifest.lock"):
        write_file(mirror / MANIFEST, to_json({**read_manifest(mirror), **entry}))
