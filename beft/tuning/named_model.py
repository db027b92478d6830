"""Find the pretrained model that a user names: a folder, or an id of the hub."""

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from beft.data.mirror.lookup import mirrors, read_manifest
from beft.errors import UserError, one_line
from beft.models.pretrained import check_checkpoint
from beft.study.fields import NAME

PATTERNS = ["*.json", "*.safetensors", "*.txt", "*.model"]  # never pickles, never code


@dataclass(frozen=True)
class NamedModel:
    """A pretrained model on this machine."""

    folder: Path
    hub: str | None = None  # its id on the hub, if it has one
    revision: str | None = None  # its commit there, if known

    def __str__(self) -> str:
        return self.hub or str(self.folder)


def find_named(name: str, root: Path) -> NamedModel:
    """The model of a name: a folder; else `owner/name` or `owner/name@revision` of the hub.

    A hub model is looked for in the mirrors, then in the cache of Hugging Face, then on the hub.

    Raises:
        UserError: it is nowhere, or is no usable checkpoint.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _checked(NamedModel(folder.resolve()))
    hub, _, revision = name.partition("@")
    parts = hub.split("/")
    if len(parts) > 2 or not all(NAME.fullmatch(part) for part in parts):
        raise UserError(f"--model {name}: no such folder, and no id of the hub (owner/name)")
    for mirror in mirrors(root):
        found = mirror / "models" / hub
        if (found / "config.json").is_file():
            entry = read_manifest(mirror).get(f"models/{hub}")
            known = entry["revision"] if entry else None
            if not revision or revision == known:
                return _checked(NamedModel(found, hub, known))
    return _checked(_from_hub(hub, revision or None))


def _from_hub(hub: str, revision: str | None) -> NamedModel:
    """A snapshot in the cache of Hugging Face, fetched if there is network."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    fetch = partial(snapshot_download, hub, revision=revision, allow_patterns=PATTERNS)
    try:
        try:
            found = fetch(local_files_only=True)
        except LocalEntryNotFoundError:
            if os.environ.get("HF_HUB_OFFLINE") == "1":
                raise
            found = fetch()
    except Exception as error:  # of network, of the hub, of its client: none is the program's
        raise UserError(
            f"--model {hub}: not in a mirror or the cache of Hugging Face, and not fetched "
            f"({one_line(error, 160)}); check the name and the network, or give a folder"
        ) from None
    return NamedModel(Path(found), hub, Path(found).name)


def _checked(base: NamedModel) -> NamedModel:
    check_checkpoint(base.folder, f"--model {base}")
    return base
