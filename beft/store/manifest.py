"""The manifest of a pack: which runs a job trained, and how each of them ended."""

from pathlib import Path
from typing import TypedDict

from beft.errors import UserError
from beft.store.files import read_json


class Entry(TypedDict):
    """A run in a manifest.

    `checksums` is the SHA-256 of its list of checksums (`Run.checksum`); None if it was skipped.
    """

    status: str
    reason: str
    checksums: str | None


def read_manifest(path: Path) -> dict[str, Entry]:
    """The runs of a manifest, by digest.

    Raises:
        UserError: when the file is missing or damaged.
    """
    try:
        return {
            e["digest"]: Entry(status=e["status"], reason=e["reason"], checksums=e["checksums"])
            for e in read_json(path)["runs"]
        }
    except (KeyError, TypeError):
        raise UserError(f"{path}: damaged (not a manifest)") from None
