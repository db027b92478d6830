"""The manifest of a pack: which runs a job trained, and how each of them ended."""

from pathlib import Path
from typing import TypedDict

from beft.errors import UserError
from beft.store.files import recall_json, to_json, write_file
from beft.study.recipe import Recipe


class Entry(TypedDict):
    """A run in a manifest."""

    digest: str
    folder: str
    status: str
    reason: str
    checksums: str | None  # SHA-256 of its list of checksums (`Run.checksum`); None if skipped


def entry(recipe: Recipe, status: str, reason: str, checksums: str | None = None) -> Entry:
    """The entry of a run in a manifest."""
    return {
        "digest": recipe.digest,
        "folder": recipe.folder(),
        "status": status,
        "reason": reason,
        "checksums": checksums,
    }


def write_manifest(path: Path, entries: list[Entry], skip_inert: bool) -> None:
    """Writes a manifest; `skip_inert` says whether runs of inert terms were left out."""
    write_file(path, to_json({"runs": entries, "skip_inert": skip_inert}))


def read_manifest(path: Path) -> dict[str, Entry]:
    """The runs of a manifest, by digest.

    Raises:
        UserError: when the file is missing or damaged.
    """
    try:
        found: dict[str, Entry] = {e["digest"]: e for e in recall_json(path)["runs"]}
        if all(e.keys() >= Entry.__required_keys__ for e in found.values()):
            return found
    except (KeyError, TypeError, AttributeError):
        pass
    raise UserError(f"{path}: damaged (not a manifest)")
