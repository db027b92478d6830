"""What a fetch brings: the files to download, the room they take, and what is made of them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

from beft.data.mirror import hub
from beft.data.mirror.lookup import Piece
from beft.data.mirror.transfers import Transfer


class Origin(TypedDict, total=False):
    """What the manifest records of where files come from, beside the revision."""

    pickled: dict[str, str]  # name of a file of pickled weights -> its SHA-256
    parquet: str  # the commit of the hub's conversion


@dataclass(frozen=True)
class Ready:
    """A folder to move into the mirror."""

    folder: Path
    origin: Origin = field(default_factory=Origin)


# Fetches to a staging folder.
Prepare = Callable[[Path, Transfer], Ready]


@dataclass(frozen=True)
class Order:
    """What a fetch of a dataset or model brings.

    Attributes:
        files: what is downloaded, each with the folder below the staging folder that it goes to.
        room: bytes of disk that it takes at most, until only what the mirror keeps is left.
        note: what is done with the files, where that is not obvious.
    """

    piece: Piece
    files: tuple[tuple[str, hub.Remote], ...]
    room: int
    prepare: Prepare
    note: str = ""

    @property
    def size(self) -> int:
        return sum(file.size for _, file in self.files)

    def left(self, staging: Path) -> int:
        """Bytes that are still to be downloaded, where an interrupted fetch left its files."""
        return sum(hub.left(file, staging / folder) for folder, file in self.files)
