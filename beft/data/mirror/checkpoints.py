"""Which files of a model's repository are fetched, and what the mirror gets: safetensors only."""

import re
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

from beft.data.mirror import hub, pickles
from beft.data.mirror.hub import Remote
from beft.data.mirror.lookup import WEIGHTS, Piece
from beft.data.mirror.order import Order, Origin, Ready
from beft.data.mirror.transfers import Transfer
from beft.errors import UserError
from beft.models.pretrained import check_checkpoint
from beft.store.files import read_json, to_json, write_file
from beft.study.identity import MODEL_SUFFIXES, cached_sha256

INDEX = f"{WEIGHTS}.index.json"
PICKLED, PICKLED_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
SHARD = re.compile(r"(?:pytorch_)?model(-\d{5}-of-\d{5})\.(safetensors|bin)")
FOLDER, RAW = "model", "pickled"  # below a staging folder


def order_model(piece: Piece, lacking: str) -> Order:
    """Asks the hub for a model's files, and chooses those that are needed.

    Raises:
        UserError: if the hub does not answer, the model is gated, or has no weights to load.
    """
    files = {file.path: file for file in hub.listing(piece, lacking).files if "/" not in file.path}
    weights = _weights(piece, files)
    pickled = any(file.path.endswith(".bin") for file in weights)
    if pickled:
        pickles.check_torch(piece.where)
    texts = [
        file
        for name, file in files.items()
        if name.endswith(MODEL_SUFFIXES) and not name.endswith((".safetensors", ".index.json"))
    ]
    hub.check_access(piece, [*texts, *weights])
    chosen = [(FOLDER, f) for f in texts] + [(RAW if pickled else FOLDER, f) for f in weights]
    size = sum(file.size for _, file in chosen)
    # A pickled file is deleted when it has been converted.
    room = size + max(file.size for file in weights) if pickled else size
    prepare = partial(prepare_model, piece, texts, weights)
    note = "its pickled weights are converted" if pickled else ""
    return Order(piece, tuple(chosen), room, prepare, note)


def _weights(piece: Piece, files: Mapping[str, Remote]) -> list[Remote]:
    """The files of weights that transformers would load, safetensors before pickles."""
    for single, index, kind in ((WEIGHTS, INDEX, "safetensors"), (PICKLED, PICKLED_INDEX, "bin")):
        if single in files:
            return [files[single]]
        if index in files:
            found = [(file, SHARD.fullmatch(name)) for name, file in files.items()]
            return [files[index], *(f for f, shard in found if shard and shard[2] == kind)]
    raise UserError(
        f"{piece.where}: {piece.hub} has no weights for torch on the hub ({WEIGHTS}, {PICKLED}, or "
        "one of them in parts, with an index); choose a revision that has"
    )


def prepare_model(
    piece: Piece, texts: list[Remote], weights: list[Remote], staging: Path, transfer: Transfer
) -> Ready:
    """Downloads a model to a staging folder, and converts its weights if they are pickled."""
    transfer.total = sum(file.size for file in (*texts, *weights))
    folder = staging / FOLDER
    pickled = any(file.path.endswith(".bin") for file in weights)
    hub.download(piece, texts if pickled else [*texts, *weights], folder, transfer)
    origin = Origin()
    names = {file.path for file in texts}
    if pickled:
        origin, made = _convert(piece, weights, staging, transfer)
        names |= made
    else:
        names |= {file.path for file in weights}
    for path in folder.iterdir():  # a branch may have lost files since the first attempt
        if path.name not in names:
            path.unlink()
    return Ready(check_model(piece, folder), origin)


def check_model(piece: Piece, folder: Path) -> Path:
    """Checks that a folder holds a whole checkpoint, with the weights that are pinned."""
    if piece.sha256 and cached_sha256(folder / WEIGHTS) != piece.sha256:
        raise UserError(
            f"{piece.where}: the fetched weights have another sha256 than the pinned {piece.sha256}"
        )
    check_checkpoint(folder, f"{piece.where}: {piece.hub}")
    return folder


def _convert(
    piece: Piece, weights: list[Remote], staging: Path, transfer: Transfer
) -> tuple[Origin, set[str]]:
    """Downloads and converts one file after another; a second call continues the first.

    Returns:
        The SHA-256 of the pickled files, and the names of the files that were made of them.
    """
    folder, raw = staging / FOLDER, staging / RAW
    raw.mkdir(exist_ok=True)
    done = raw / "converted.json"  # what has been converted: its digest on the hub and its SHA-256
    known = read_json(done) if done.exists() else {}
    made: dict[str, str] = {}  # name of a file of weights -> of the one made of it
    for file in _parts(piece, weights, raw, transfer):
        target = folder / _safe_name(file.path)
        made[file.path] = target.name
        if target.is_file() and known.get(file.path, {}).get("digest") == file.digest:
            transfer.advance(file.size)
            continue
        hub.download(piece, [file], raw, transfer)
        transfer.step = f"converting {file.path}"
        checksum = cached_sha256(raw / file.path)
        pickles.convert(raw / file.path, target, f"{piece.where}: {file.path} of {piece.hub}")
        known[file.path] = {"digest": file.digest, "sha256": checksum}
        write_file(done, to_json(known))
        (raw / file.path).unlink()
        transfer.step = "fetching"
    names = set(made.values())
    if names != {WEIGHTS}:
        write_file(folder / INDEX, to_json(_index(piece, folder, sorted(names))))
        names.add(INDEX)
    return Origin(pickled={name: known[name]["sha256"] for name in made}), names


def _parts(piece: Piece, weights: list[Remote], raw: Path, transfer: Transfer) -> list[Remote]:
    """The files of weights that belong together, in their order."""
    files = {file.path: file for file in weights}
    if PICKLED_INDEX not in files:
        return weights
    hub.download(piece, [files.pop(PICKLED_INDEX)], raw, transfer)
    index = read_json(raw / PICKLED_INDEX)
    parts = index.get("weight_map") if isinstance(index, dict) else None
    names = sorted({str(name) for name in parts.values()}) if isinstance(parts, dict) else []
    absent = [name for name in names if name not in files] or ([] if names else ["nothing"])
    if absent:
        raise UserError(
            f"{piece.where}: {PICKLED_INDEX} of {piece.hub} names {absent[0][:80]!r}, which is not "
            "a file of weights beside it; choose another revision"
        )
    return [files[name] for name in names]


def _safe_name(pickled: str) -> str:
    shard = SHARD.fullmatch(pickled)
    return f"model{shard[1]}.safetensors" if shard else WEIGHTS


def _index(piece: Piece, folder: Path, names: Iterable[str]) -> dict:
    """Which file holds which tensor, as transformers reads it."""
    from safetensors import safe_open

    places: dict[str, str] = {}
    size = 0
    for name in names:
        size += (folder / name).stat().st_size
        with safe_open(folder / name, "np") as file:
            keys = set(file.keys())
        if twice := sorted(keys & places.keys()):
            raise UserError(
                f"{piece.where}: the weights of {piece.hub} hold {twice[0]} twice, in "
                f"{places[twice[0]]} and {name}; choose another revision"
            )
        places |= dict.fromkeys(keys, name)
    return {"metadata": {"total_size": size}, "weight_map": places}
