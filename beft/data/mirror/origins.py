"""Compare the files of a mirror with those that a normalised dataset was made from."""

from collections.abc import Callable
from pathlib import Path

from beft.data.mirror.lookup import dataset_piece, mirrors
from beft.errors import UserError
from beft.store.files import recall_json
from beft.store.inputs import SOURCE
from beft.study import params as P
from beft.study.identity import cached_sha256


def changed_origin(
    root: Path, name: str, task: P.Task, folder: Path, hashed: Callable[[Path], str] = cached_sha256
) -> str | None:
    """Tells in one line that the hub's data changed after a task's dataset was made from them.

    None if a mirror has each file as it was read, or has it not at all: results outlive the mirror.

    Args:
        folder: of the normalised dataset, which need not exist.
    """
    if task.hub is None or not (folder / SOURCE).is_file():
        return None
    try:
        read = {
            split: each["sha256"] for split, each in recall_json(folder / SOURCE)["read"].items()
        }
    except (UserError, KeyError, TypeError, AttributeError):
        return None  # damaged, which is told elsewhere
    place = dataset_piece(name, task, read).place
    for split, expected in read.items():
        files = [mirror / place / f"{split}.parquet" for mirror in mirrors(root)]
        there = [path for path in files if path.is_file()]
        if there and all(hashed(path) != expected for path in there):
            return (
                f"{there[0]}: not the file that {folder} was made from; restore it, or, if you "
                f"want the new data, delete {folder} and run 'beft fetch --task {name}'"
            )
    return None
