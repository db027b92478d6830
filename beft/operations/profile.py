"""What a plan needs of a workflow profile: which study, how many jobs at once, whether on GPUs."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beft.errors import UserError
from beft.study.yaml_file import read_yaml

FILES = ("profile.yaml", "config.yaml")


@dataclass(frozen=True)
class Profile:
    """A workflow profile.

    Attributes:
        path: its file.
        study: the one it picks, if it does.
        jobs: that run at once; None where it does not say.
        gpu: GPUs of a job that trains; None where it does not say.
    """

    path: Path
    study: str | None
    jobs: int | None
    gpu: int | None


def read_profile(name: str, root: Path) -> Profile:
    """The profile of that name: a file, a folder, or a folder of the project or the user.

    Raises:
        UserError: when there is none, or a key is not what it must be.
    """
    path = _find(name, root)
    said = read_yaml(path)
    study = _pairs(path, "config", said).get("study")
    limits = _pairs(path, "resources", said)
    train = said.get("set-resources", {})
    train = _pairs(path, "set-resources.train", train if isinstance(train, dict) else {})
    jobs = _count(path, "jobs", said.get("jobs"))
    if jobs is None and "executor" not in said:  # here: as many as there are GPUs
        jobs = _count(path, "resources.gpu", limits.get("gpu"))
    gpu = _count(path, "set-resources.train.gpu", train.get("gpu"))
    return Profile(path, None if study is None else str(study), jobs, gpu)


def _find(name: str, root: Path) -> Path:
    user = Path(os.environ.get("XDG_CONFIG_HOME", Path.home() / ".config")) / "snakemake"
    places = [Path(name), root / name, root / "profiles" / name, user / name]
    for place in places:
        for path in (place, *(place / file for file in FILES)):
            if path.is_file():
                return path
    looked = ", ".join(dict.fromkeys(str(p) for p in places))
    raise UserError(f"--profile {name}: no {' or '.join(FILES)} (looked for {looked})")


def _pairs(path: Path, key: str, said: dict) -> dict[str, Any]:
    """A mapping, which may be written as one, as a list of name=value or as one name=value."""
    given = said.get(key.rpartition(".")[2]) or {}
    if isinstance(given, dict):
        return given
    items = given if isinstance(given, list) else [given]
    pairs = [str(item).partition("=") for item in items]
    if not all(sign for _, sign, _ in pairs):
        raise UserError(f"{path}: {key}: expected name=value (got {given!r})")
    return {name.strip(): value.strip() for name, _, value in pairs}


def _count(path: Path, key: str, value: Any) -> int | None:
    if value in (None, "unlimited", "all"):
        return None
    try:
        return int(value)
    except (TypeError, ValueError):
        raise UserError(f"{path}: {key}: expected a number (got {value!r})") from None
