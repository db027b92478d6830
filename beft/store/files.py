"""Write files and folders whole or not at all, and tell whether they are as they were written."""

import glob
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import chain, count
from pathlib import Path
from typing import IO, Any

from beft.errors import UserError
from beft.study.identity import hashed, sha256

CHECKSUMS = "checksums.json"
IN_THE_WAY = "a file lies where a folder belongs; remove it"


def to_json(data: object) -> bytes:
    """Canonical, readable JSON."""
    return (json.dumps(data, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def read_json(path: Path) -> Any:
    """JSON from a file of ours.

    Raises:
        UserError: when it is missing or not JSON.
    """
    try:
        return from_json(path, path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(f"{path}: damaged ({error})") from None


def from_json(path: Path, content: bytes) -> Any:
    """What the content of a file of ours says.

    Raises:
        UserError: when it is not JSON.
    """
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: damaged ({error})") from None


_RECALLED: dict[Path, tuple[tuple[int, ...], Any]] = {}


def recall_json(path: Path) -> Any:
    """`read_json`, remembered for as long as the file stays the same; not to be changed."""
    try:
        stat = path.stat()
    except OSError:
        return read_json(path)
    state = (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    if path not in _RECALLED or _RECALLED[path][0] != state:
        _RECALLED[path] = state, read_json(path)
    return _RECALLED[path][1]


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def explain_os_errors(path: Path) -> Iterator[None]:
    """Turns a full disk or a read-only folder into one clear line."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from error


@contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        Path(name).chmod(0o666 & ~umask)
        Path(name).replace(path)
        _sync(path.parent)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _write(path: Path, content: bytes) -> None:
    with _replacing(path) as file:
        file.write(content)


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write to; it takes its place at the end, whole or not at all; see `write_file`."""
    with explain_os_errors(path), _replacing(path) as file:
        yield file


def write_file(path: Path, content: bytes) -> None:
    """Writes a file so that it is there whole or not at all, even through a power loss.

    Raises:
        UserError: when it cannot be written.
    """
    with explain_os_errors(path):
        _write(path, content)


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Writes a folder with a checksum of each file, whole or not at all.

    Raises:
        UserError: when it cannot be written, or is there already.
    """
    with explain_os_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        name = tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".tmp")
        temporary = Path(name)
        try:
            temporary.chmod(0o755)
            for name, content in files.items():
                _write(temporary / name, content)
            sums = {name: sha256(temporary / name) for name in sorted(files)}
            _write(temporary / CHECKSUMS, to_json(sums))
            temporary.rename(folder)
            _sync(folder.parent)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def sweep(path: Path) -> None:
    """Removes what killed writers of a file or folder left beside it; nobody may be writing it."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        remove(left)


def remove(path: Path) -> None:
    """Removes a file, or a folder with all that is in it; below a file there is nothing to remove.

    Raises:
        UserError: when it cannot be removed.
    """
    with explain_os_errors(path), suppress(NotADirectoryError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def flaws(
    folder: Path,
    wanted: Callable[[str], bool] = lambda name: True,
    contents: dict[str, bytes] | None = None,
) -> Iterator[tuple[str, str]]:
    """Every file of a folder with checksums that is not as written: its name, and what is wrong.

    Args:
        wanted: whether to read a file of this name; of all others only their presence is checked.
        contents: gets the content of each small file that is as written, so that it need not be
            read again.
    """
    place = os.path.join(folder, "")  # noqa: PTH118  as fast as it can be, for thousands of runs
    try:
        sums = json.loads((folder / CHECKSUMS).read_bytes())
        if not sums:
            yield CHECKSUMS, f"{CHECKSUMS} names no file"
        for name, expected in sums.items():
            try:
                if not wanted(name):
                    os.stat(place + name)  # noqa: PTH116
                    continue
                found, content = hashed(place + name)
                if found != expected:
                    yield name, f"{name} is damaged"
                elif contents is not None and content is not None:
                    contents[name] = content
            except (FileNotFoundError, IsADirectoryError):
                yield name, f"{name} is missing"
    except FileNotFoundError:
        yield CHECKSUMS, f"{CHECKSUMS} is missing"
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        yield CHECKSUMS, f"{CHECKSUMS} is damaged ({error})"


def in_the_way(folder: Path) -> Path | None:
    """What is no folder, but lies where one or a folder above it belongs; None if nothing does."""
    places = (folder.absolute(), *folder.absolute().parents)
    there = next(path for path in places if os.path.lexists(path))
    return None if there.is_dir() else there


def _absent(folder: Path) -> str | None:
    if folder.is_dir():
        return None
    return IN_THE_WAY if in_the_way(folder) else "missing"


def all_flaws(folder: Path) -> list[str]:
    """Everything that is wrong with a folder written by `write_folder`."""
    absent = _absent(folder)
    return [absent] if absent else [problem for _, problem in flaws(folder)]


def flaw(
    folder: Path,
    wanted: Callable[[str], bool] = lambda name: True,
    contents: dict[str, bytes] | None = None,
) -> str | None:
    """What is wrong with a folder written by `write_folder`; None when it is sound.

    Args:
        wanted, contents: as in `flaws`.
    """
    found = (problem for _, problem in flaws(folder, wanted, contents))
    return _absent(folder) or next(found, None)


def set_aside(path: Path, target: Path) -> Path:
    """Renames a folder to `target`, or `target-2`, ... if that exists; returns the name.

    Raises:
        UserError: when it cannot be renamed, or is a file.
    """
    if blocked := in_the_way(path):
        raise UserError(f"{blocked}: {IN_THE_WAY}")
    names = chain([target.name], (f"{target.name}-{number}" for number in count(2)))
    free = next(to for name in names if not (to := target.with_name(name)).exists())
    with explain_os_errors(free):
        free.parent.mkdir(parents=True, exist_ok=True)
        path.rename(free)
    return free
