"""Read from a workflow profile what a plan needs: the study, jobs at once, and GPUs."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from beft.errors import UserError, shortened
from beft.study.yaml_file import read_yaml
from beft.tasks.words import Plain

FILES = ("profile.yaml", "config.yaml")


@dataclass(frozen=True)
class Profile:
    """The settings of a workflow profile; each is None if the profile does not set it."""

    path: Path  # its file
    study: str | None  # the study that it runs
    jobs: int | None  # how many jobs run at once
    gpu: int | None  # how many GPUs a training job requests


def read_profile(name: str, root: Path) -> Profile:
    """Reads a profile: a file or folder, or a name.

    A name is looked for in `profiles/` of the project (`root`), and in the user's configuration of
    Snakemake.

    Raises:
        UserError: if there is no such profile, or a key has a wrong value.
    """
    path = _find(name, root)
    content = read_yaml(path)
    study = _pairs(path, "config", content).get("study")
    limits = _pairs(path, "resources", content)
    train = content.get("set-resources", {})
    train = _pairs(path, "set-resources.train", train if isinstance(train, dict) else {})
    jobs = _count(path, "jobs", content.get("jobs"))
    if jobs is None and "executor" not in content:  # on this machine: as many jobs as GPUs
        jobs = _count(path, "resources.gpu", limits.get("gpu"))
    gpu = _count(path, "set-resources.train.gpu", train.get("gpu"))
    return Profile(path, None if study is None else str(study), jobs, gpu)


def _find(name: str, root: Path) -> Path:
    own = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")  # noqa: PTH111
    user = Path(own) / "snakemake"
    candidates = [Path(name), root / name, root / "profiles" / name, user / name]
    for candidate in candidates:
        for path in (candidate, *(candidate / file for file in FILES)):
            if path.is_file():
                return path
    looked = ", ".join(dict.fromkeys(str(p) for p in candidates))
    raise UserError(f"--profile {name}: no {' or '.join(FILES)} (looked for {looked})")


def _pairs(path: Path, key: str, content: Plain) -> Plain:
    """A mapping, which a profile may also write as name=value or as a list of these."""
    given = content.get(key.rpartition(".")[2]) or {}
    if isinstance(given, dict):
        return given
    items = given if isinstance(given, list) else [given]
    pairs = [str(item).partition("=") for item in items]
    if not all(sign for _, sign, _ in pairs):
        raise UserError(f"{path}: {key}: expected name=value (got {given!r})")
    return {name.strip(): value.strip() for name, _, value in pairs}


def _count(path: Path, key: str, value: object) -> int | None:
    if value in (None, "unlimited", "all"):
        return None
    if not re.fullmatch(r"\d{1,9}", str(value)):
        raise UserError(f"{path}: {key}: expected a number (got {shortened(repr(value))})")
    return int(str(value))
