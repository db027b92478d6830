"""Which files of a dataset's repository are fetched, and the parquet file of each split."""

import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from beft.data.mirror import hub
from beft.data.mirror.lookup import Piece
from beft.data.mirror.order import Order, Origin, Ready
from beft.data.mirror.transfers import Transfer
from beft.errors import UserError

if TYPE_CHECKING:
    from datasets import DatasetBuilder

RAW = "hub"  # below a staging folder
# How the hub names the files of its own conversions: configuration, split, number.
CONVERTED = re.compile(r"([^/]+)/(partial-)?([^/]+)/\d{4,}\.parquet")
# Disk that a dataset takes, over what is downloaded: unpacked to arrow, and packed again.
ROOM = 5

Files = dict[str, list[str]]  # the files of each split, as paths in the repository


def order_dataset(piece: Piece, config: str | None, splits: list[str], lacking: str) -> Order:
    """Asks the hub for the files of a dataset's splits.

    They are taken from the pinned revision. If that holds no parquet, and nothing else that can be
    read without its code, they are taken from the hub's conversion, as it is at this moment.

    Raises:
        UserError: if the hub does not answer, the dataset is gated, or lacks a split.
    """
    found = hub.listing(piece, lacking)
    hub.check_access(piece, found.files)
    origin = Origin()
    try:
        files = _files(piece, config, found)
    except UserError:
        raise
    except Exception as error:  # whatever the hub's libraries raise
        if any(file.path.endswith(".parquet") for file in found.files):
            raise hub.failure(piece, error) from error
        found, files = _converted(piece, config, error)
        origin = Origin(parquet=found.commit)
    if absent := [split for split in splits if split not in files]:
        raise UserError(
            f"{piece.where}: {piece.hub} has no split named '{absent[0]}'; it has "
            f"{', '.join(sorted(files)) or 'none'}"
        )
    paths = {split: files[split] for split in splits}
    chosen = [
        f for f in found.files if f.path in {path for part in paths.values() for path in part}
    ]
    source = replace(piece, revision=found.commit) if origin else piece
    prepare = partial(prepare_dataset, source, config, paths, chosen, origin)
    note = f"from {hub.CONVERTED}, commit {found.commit}" if origin else ""
    room = ROOM * sum(file.size for file in chosen)
    return Order(piece, tuple((RAW, file) for file in chosen), room, prepare, note)


def _files(piece: Piece, config: str | None, found: hub.Listing) -> Files:
    """The files of each split, by the dataset's card or their names, as `datasets` finds them."""
    tables = [file.path for file in found.files if file.path.endswith(".parquet")]
    if tables and all(CONVERTED.fullmatch(path) for path in tables):
        return _conversion(piece, config, tables)
    with TemporaryDirectory() as cache:
        builder = _builder(piece, config, Path(cache))
    # hf://datasets/{hub}@{revision}/{path}
    return {
        str(split): [url.partition("@")[2].partition("/")[2] for url in urls]
        for split, urls in builder.config.data_files.items()
    }


def _converted(piece: Piece, config: str | None, reason: Exception) -> tuple[hub.Listing, Files]:
    """What the hub has converted of a dataset whose own files cannot be read."""
    try:
        found = hub.listing(piece, f"{piece.where}: {piece.hub}", hub.CONVERTED)
    except UserError:
        raise hub.failure(piece, reason) from reason
    tables = [file.path for file in found.files if CONVERTED.fullmatch(file.path)]
    return found, _conversion(piece, config, tables)


def _conversion(piece: Piece, config: str | None, tables: list[str]) -> Files:
    """The files of each split, by the names that the hub gives those that it converts."""
    files: dict[str, Files] = {}
    for path in sorted(tables):
        of_config, partly, split = CONVERTED.fullmatch(path).groups()  # type: ignore[union-attr]
        if partly and config in (None, of_config):
            raise UserError(
                f"{piece.where}: {piece.hub} was converted by the hub only in part ({path}); "
                "download it by hand and name its folder with 'path'"
            )
        files.setdefault(of_config, {}).setdefault(split, []).append(path)
    if config is None and len(files) == 1:
        return next(iter(files.values()))
    if (config or "default") not in files:
        raise UserError(
            f"{piece.where}: {piece.hub} has no configuration '{config or 'default'}'; it has "
            f"{', '.join(sorted(files)) or 'none'}"
        )
    return files[config or "default"]


def _builder(piece: Piece, config: str | None, cache: Path) -> "DatasetBuilder":
    """What `datasets` reads the pinned revision with; never a folder here of the same name."""
    from datasets import disable_progress_bars, load_dataset_builder

    disable_progress_bars()
    name = f"hf://datasets/{piece.hub}"
    return load_dataset_builder(name, config, revision=piece.revision, cache_dir=str(cache))


def prepare_dataset(
    piece: Piece,
    config: str | None,
    paths: Mapping[str, list[str]],
    files: list[hub.Remote],
    origin: Origin,
    staging: Path,
    transfer: Transfer,
) -> Ready:
    """Downloads the files of the splits, and writes each split as one parquet file."""
    raw, out, cache = (staging / name for name in (RAW, "splits", "cache"))
    for folder in (out, cache):
        shutil.rmtree(folder, ignore_errors=True)
    transfer.total = sum(file.size for file in files)
    hub.download(piece, files, raw, transfer)
    transfer.step = "converting"
    local = {split: [str(raw / path) for path in paths[split]] for split in paths}
    if all(CONVERTED.fullmatch(file.path) for file in files):
        from datasets import load_dataset_builder

        builder = load_dataset_builder("parquet", data_files=local, cache_dir=str(cache))
    else:
        builder = _builder(piece, config, cache)
        builder.config.data_files = local
    builder.download_and_prepare(str(cache / "arrow"), verification_mode="no_checks")
    out.mkdir()
    for split in paths:
        builder.as_dataset(split=split).to_parquet(out / f"{split}.parquet")
    return Ready(out, origin)
