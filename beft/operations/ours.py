"""Tell what this project wrote from what somebody else put into data/ or logs/, by its name."""

import re
from pathlib import Path

from beft.store import run_format as F
from beft.store.files import CHECKSUMS
from beft.store.inputs import SOURCE
from beft.study.fields import REGIMES
from beft.study.layout import Folder

_NAME, _DIGEST, _SEED = "[^/]+", "[0-9a-f]{16}", r"seed-\d+"
_REGIME = f"({'|'.join(REGIMES)})"
_CELL = f"{_NAME}/{_NAME}/{_REGIME}"
# Folder of data/ -> what stands below it, without its suffix; and the suffixes.
_SHAPES: dict[Folder, tuple[str, str]] = {
    "runs": (f"{_CELL}/{_NAME}/{_SEED}/{_DIGEST}", ""),
    "packs": (f"{_CELL}/{_DIGEST}", r"\.json"),
    "scores": (f"{_CELL}/{_DIGEST}", r"(\.epochs|\.gradients)?\.csv"),
    "timings": (f"{_CELL}/{_DIGEST}", r"\.json"),
    "merges": (f"{_NAME}/{_REGIME}/{_DIGEST}", r"\.json"),
    "subsets": (f"{_NAME}/{_REGIME}/{_SEED}/{_DIGEST}", r"\.parquet"),
    "sources": (f"{_NAME}/{_DIGEST}", ""),
    "models": (f"{_NAME}/{_DIGEST}", r"\.json"),
}
_WORK = (
    rf"((source-|pack-)?{_DIGEST}|group-{_DIGEST}-{_DIGEST}|reports"
    rf"|((source-)?{_DIGEST}|mirror-.+)\.(damaged|refused)(-\d+)?)"
)
_HALF = r"\..+\.[a-z0-9_]{8}\.tmp"  # as `store.files` names what it has not written to the end
_RUN = (
    *(F.RECIPE, F.METRICS, F.HISTORY, F.PROVENANCE, F.GRADIENTS, F.BIASES, F.HEAD),
    *(F.PREDICTIONS, F.EXAMPLES, CHECKSUMS),
)
_INSIDE: dict[Folder, str] = {
    "runs": "|".join(map(re.escape, _RUN)),
    "sources": rf".+\.parquet|{re.escape(SOURCE)}|{re.escape(CHECKSUMS)}",
}


def is_made(kind: Folder, key: str, path: Path) -> bool:
    """Whether a path at `key` below a folder of data/ is what this project writes there.

    A folder is only if it holds nothing else.
    """
    stem, suffix = _SHAPES[kind]
    if not re.fullmatch(stem + suffix, key) or path.is_dir() != (kind in _INSIDE):
        return False
    inside = path.iterdir() if path.is_dir() else ()
    return all(re.fullmatch(f"{_INSIDE[kind]}|{_HALF}", each.name) for each in inside)


def is_log(kind: Folder, key: str) -> bool:
    """Whether a path below a folder of logs/ is the log of what is made in this folder of data/."""
    return bool(re.fullmatch(rf"{_SHAPES[kind][0]}\.(log|tsv)", key))


def is_work(name: str) -> bool:
    """Whether a folder of data/work has a name that this project gives."""
    return bool(re.fullmatch(_WORK, name))


def is_half_written(name: str) -> bool:
    """Whether a file or folder has the name of one that was not written to the end."""
    return bool(re.fullmatch(_HALF, name))
