"""List and download the files of a repository on the hub; an interrupted download continues."""

import hashlib
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from beft.data.mirror.lookup import Piece
from beft.data.mirror.transfers import Transfer
from beft.errors import UserError, one_line
from beft.study.identity import cached_sha256

CONVERTED = "refs/convert/parquet"  # the branch where the hub keeps its conversion of a dataset


@dataclass(frozen=True)
class Remote:
    """A file of a repository."""

    path: str  # its path in the repository: it stays below any folder that it is joined to
    size: int  # bytes
    digest: str  # the SHA-256 of a large file, or the SHA-1 that git computes for a small one


@dataclass(frozen=True)
class Listing:
    """The files of a repository at one commit."""

    commit: str
    files: tuple[Remote, ...]


def reachable() -> bool:
    """Whether the hub answers, within a few seconds; it is not asked where that is forbidden."""
    from huggingface_hub.constants import ENDPOINT
    from huggingface_hub.utils import get_session

    if _forbidden():
        return False
    try:
        get_session().head(ENDPOINT, timeout=5)
    except Exception:  # whatever the hub's libraries raise
        return False
    return True


def _forbidden() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0")


def listing(piece: Piece, lacking: str, revision: str | None = None) -> Listing:
    """Asks the hub for the files of a repository.

    Args:
        lacking: how the message begins if the hub does not answer.
        revision: instead of the pinned one.

    Raises:
        UserError: if the hub does not answer, the repository cannot be read, or a name in it leads
            out of its folder.
    """
    revision = revision or piece.revision
    if _forbidden():
        raise UserError(f"{lacking}, and the hub cannot be reached (HF_HUB_OFFLINE is set)")
    from huggingface_hub import HfApi
    from huggingface_hub import errors as E

    try:
        info = HfApi().repo_info(
            piece.hub,
            repo_type=piece.kind,
            revision=revision,
            timeout=10,
            files_metadata=True,
        )
    except E.RevisionNotFoundError:
        message = f"{piece.where}: {piece.hub} has no revision {revision} on the hub"
        raise UserError(message) from None
    except E.RepositoryNotFoundError as error:
        if isinstance(error, E.GatedRepoError):
            raise UserError(gated(piece)) from None
        raise UserError(
            f"{piece.where}: no {piece.kind} {piece.hub} on the hub; if it is private, run "
            "'hf auth login' first"
        ) from None
    except Exception as error:
        raise UserError(f"{lacking}, and the hub cannot be reached ({_detail(error)})") from error
    files = (
        Remote(file.rfilename, file.size, file.lfs.sha256 if file.lfs else file.blob_id)
        for file in getattr(info, "siblings", None) or ()
    )
    return Listing(str(info.sha), tuple(_checked(piece, file) for file in files))


def _checked(piece: Piece, file: Remote) -> Remote:
    """Refuses an answer that would lead to a path outside of a folder of ours."""
    path = PurePosixPath(file.path)
    plain = not path.is_absolute() and path.as_posix() == file.path and file.path.isprintable()
    if not plain or ".." in path.parts or "\\" in file.path or path.parts == ():
        raise UserError(
            f"{piece.where}: {piece.hub} lists a file whose name leads elsewhere "
            f"({file.path[:80]!r}); nothing of it is fetched"
        )
    known = re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", str(file.digest))
    if known is None or not isinstance(file.size, int):
        raise UserError(
            f"{piece.where}: the hub announces no size and checksum of {file.path[:80]}"
        )
    return file


def check_access(piece: Piece, files: Iterable[Remote]) -> None:
    """Asks for a file's headers, which the hub refuses where terms have to be accepted first.

    Raises:
        UserError: if they have to be. Any other failure is left to the download.
    """
    from huggingface_hub import errors, get_hf_file_metadata, hf_hub_url

    smallest = min(files, key=lambda file: file.size, default=None)
    if smallest is None:
        return
    url = hf_hub_url(piece.hub, smallest.path, repo_type=piece.kind, revision=piece.revision)
    try:
        get_hf_file_metadata(url, timeout=10)
    except errors.GatedRepoError:
        raise UserError(gated(piece)) from None
    except Exception:
        return


def gated(piece: Piece) -> str:
    """One line about a repository whose terms the user has to accept."""
    from huggingface_hub.constants import ENDPOINT

    page = f"{ENDPOINT}/{'datasets/' if piece.kind == 'dataset' else ''}{piece.hub}"
    return (
        f"{piece.where}: {piece.hub} is gated; log in at {page}, accept its terms, then run "
        "'hf auth login' (or set HF_TOKEN) and fetch again"
    )


def _detail(error: BaseException) -> str:
    return one_line(f"{type(error).__name__}: {error}", 300)


def failure(piece: Piece, error: Exception) -> UserError:
    """One line about an error that a library of the hub raised."""
    from huggingface_hub.errors import GatedRepoError

    if isinstance(error, GatedRepoError):
        return UserError(gated(piece))
    return UserError(f"{piece.where}: {piece.hub} cannot be fetched ({_detail(error)})")


def download(piece: Piece, files: Iterable[Remote], folder: Path, transfer: Transfer) -> None:
    """Downloads files of a repository to a folder; a second call continues the first.

    An incomplete file is named after its digest, with the suffix `.part`.

    Raises:
        UserError: if a file has another checksum than the hub announces; the file is deleted.
    """
    for file in sorted(files, key=lambda file: file.size):
        target = folder / file.path
        if target.is_file() and _is(target, file):
            transfer.advance(file.size)
            continue
        part = target.with_name(f"{file.digest}.part")
        part.parent.mkdir(parents=True, exist_ok=True)
        _continue(piece, file, part, transfer)
        part.replace(target)
        if not _is(target, file):
            target.unlink()
            raise UserError(
                f"{piece.where}: {file.path} of {piece.hub} has another checksum than the hub "
                "announces; the download was deleted, fetch again"
            )


def left(file: Remote, folder: Path) -> int:
    """The bytes of a file that are still to be downloaded to a folder."""
    target = folder / file.path
    part = target.with_name(f"{file.digest}.part")
    have = target if target.is_file() else part
    return max(0, file.size - have.stat().st_size) if have.is_file() else file.size


def _continue(piece: Piece, file: Remote, part: Path, transfer: Transfer) -> None:
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get  # not public; a test checks its signature
    from huggingface_hub.utils import build_hf_headers

    url = hf_hub_url(piece.hub, file.path, repo_type=piece.kind, revision=piece.revision)
    # Without compression, so that offsets in the file are offsets in the response.
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


def _counter(advance: Callable[[int], None]) -> Any:  # Any: stands for the class of tqdm
    """A progress bar for huggingface_hub that only counts bytes."""

    class Counter:
        def __init__(self, **settings: object):
            pass

        def __enter__(self) -> "Counter":
            return self

        def __exit__(self, *exception: object) -> None:
            pass

        def update(self, count: int) -> None:
            advance(count)

    return Counter


def _is(path: Path, file: Remote) -> bool:
    """Whether a file has the size and the checksum that the hub announces."""
    if path.stat().st_size != file.size:
        return False
    if len(file.digest) == 64:
        return cached_sha256(path) == file.digest
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == file.digest
