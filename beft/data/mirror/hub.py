"""The hub over the network: what a repository holds, and its files, each of which can go on."""

import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beft.data.mirror.lookup import Piece
from beft.data.mirror.transfers import Transfer
from beft.errors import UserError
from beft.study.identity import cached_sha256


@dataclass(frozen=True)
class Remote:
    """A file of a repository.

    Attributes:
        size: bytes.
        digest: SHA-256 of a large file; of a small one the SHA-1 that git has for it.
    """

    path: str
    size: int
    digest: str


def listing(piece: Piece, lacking: str) -> list[Remote]:
    """The files of a piece's repository at its revision, by one quick question.

    Raises:
        UserError: one line; it begins with `lacking` when the hub does not answer.
    """
    if os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0"):
        raise UserError(f"{lacking}, and the hub cannot be reached (HF_HUB_OFFLINE is set)")
    from huggingface_hub import HfApi
    from huggingface_hub import errors as E

    try:
        info = HfApi().repo_info(
            piece.hub,
            repo_type=piece.kind,
            revision=piece.revision,
            timeout=10,
            files_metadata=True,
        )
    except E.RevisionNotFoundError:
        message = f"{piece.where}: {piece.hub} has no revision {piece.revision} on the hub"
        raise UserError(message) from None
    except E.RepositoryNotFoundError as error:
        if isinstance(error, E.GatedRepoError):
            raise UserError(gated(piece)) from None
        raise UserError(f"{piece.where}: no {piece.kind} {piece.hub} on the hub") from None
    except Exception as error:
        raise UserError(f"{lacking}, and the hub cannot be reached ({_detail(error)})") from error
    return [
        Remote(s.rfilename, s.size, s.lfs.sha256 if s.lfs else s.blob_id) for s in info.siblings
    ]


def gated(piece: Piece) -> str:
    """What to do about a repository whose terms have to be accepted."""
    return (
        f"{piece.where}: {piece.hub} is gated; accept its terms on its page of the hub and run "
        "'hf auth login'"
    )


def _detail(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def failure(piece: Piece, error: Exception) -> UserError:
    """One line on whatever the hub's libraries raise."""
    from huggingface_hub.errors import GatedRepoError

    if isinstance(error, GatedRepoError):
        return UserError(gated(piece))
    return UserError(f"{piece.where}: {piece.hub} cannot be fetched ({_detail(error)})")


def download(piece: Piece, files: Iterable[Remote], folder: Path, transfer: Transfer) -> None:
    """Brings files of a repository to a folder; calling it again goes on where it was.

    A file that is not whole is named after its digest, with the suffix `.part`.

    Raises:
        UserError: when the bytes are not those that the hub announces; they are thrown away.
    """
    files = sorted(files, key=lambda file: file.size)
    transfer.total = sum(file.size for file in files)
    for file in files:
        target = folder / file.path
        if target.is_file() and _is(target, file):
            transfer.advance(file.size)
            continue
        part = target.with_name(f"{file.digest}.part")
        part.parent.mkdir(parents=True, exist_ok=True)
        _go_on(piece, file, part, transfer)
        part.replace(target)
        if not _is(target, file):
            target.unlink()
            raise UserError(
                f"{piece.where}: {file.path} of {piece.hub} came with other bytes than the hub "
                "announces (another checksum); they were thrown away, fetch again"
            )


def _go_on(piece: Piece, file: Remote, part: Path, transfer: Transfer) -> None:
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    url = hf_hub_url(piece.hub, file.path, repo_type=piece.kind, revision=piece.revision)
    # Without compression, so that an offset in the file is one in what is sent.
    headers = build_hf_headers() | {"Accept-Encoding": "identity"}
    with part.open("ab") as target:
        have = target.tell()
        if have > file.size:
            target.truncate(0)
            have = 0
        transfer.advance(have)
        http_get(
            url,
            target,
            resume_size=have,
            headers=headers,
            expected_size=file.size,
            tqdm_class=_counter(transfer.advance),
        )


def _counter(advance: Callable[[int], None]) -> Any:
    """What huggingface_hub takes for a progress bar; it only counts."""

    class Counter:
        def __init__(self, **settings: Any):
            pass

        def __enter__(self) -> "Counter":
            return self

        def __exit__(self, *exception: Any) -> None:
            pass

        def update(self, count: int) -> None:
            advance(count)

    return Counter


def _is(path: Path, file: Remote) -> bool:
    """Whether a file is what the hub announces."""
    if path.stat().st_size != file.size:
        return False
    if len(file.digest) == 64:
        return cached_sha256(path) == file.digest
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == file.digest
