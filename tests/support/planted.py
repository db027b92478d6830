"""A small finished project, mistakes to plant in it, and a way to call `beft` on it in-process."""

import hashlib
import logging
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from support import sandbox

from beft.cli import app
from beft.study.project import Project, load

ROWS = 12
PARAMS = {
    **sandbox.PARAMS,
    "tasks": {
        "mine": {
            "path": "mine",
            "text": ["sentence"],
            "labels": ["negative", "positive"],
            "metric": "accuracy",
            "regimes": {"low": 4, "medium": 8},
            "learning_rate": 1e-2,
            "epochs": 1,
        },
    },
}
# Two runs, whose snapshots and gradients are scored: `all_biases` and, for Fisher, `untuned`.
STUDY = {
    "models": ["tiny"],
    "tasks": ["mine"],
    "regimes": ["low"],
    "techniques": ["all_biases"],
    "seeds": [0],
    "selectors": ["projection", "fisher"],
    "fuse_techniques": True,
}

TASK = ("tasks", "mine")
TINY = "models/tiny"
HUB = {"hub": "own/tiny", "revision": "r1"}

Plant = Callable[["Place"], None]


class Case(NamedTuple):
    """A mistake, the command that meets it, and what the line must contain.

    `command` may hold {subset}, {pack} and {scores}: the files that the study makes.
    """

    name: str
    plant: Plant
    command: str
    words: tuple[str, ...]


class Place:
    """A project in a temporary folder that the process works in.

    Attributes:
        folder: where params.yaml lies; also the working directory.
        patch: undone when the test ends.
        processes: started by a plant; ended when the test ends.
    """

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch):
        self.folder, self.patch, self.processes = folder, patch, []
        patch.chdir(folder)
        # These are set for good by a command that runs on its own; 0 is the same as absent.
        patch.setenv("HF_HUB_OFFLINE", "0")
        patch.delenv("BEFT_MIRROR", raising=False)
        patch.setenv("XDG_CACHE_HOME", str(folder.parent / "cache"))
        # pytest's own handlers would swallow what a user sees on stderr
        patch.setattr(logging.root, "handlers", [])

    def project(self) -> Project:
        return load(self.folder / "params.yaml")

    def path(self, kind: str) -> str:
        """The first file that the study makes: kind is `subsets`, `packs` or `cells`."""
        folder = "scores" if kind == "cells" else kind
        return f"data/{folder}/{next(iter(getattr(self.project(), kind)))}"

    def run(self, technique: str) -> Path:
        """The folder of the finished run of a technique."""
        project = self.project()
        (recipe,) = (r for r in project.recipes if r.technique == technique)
        return project.layout.run(recipe)

    def beft(self, *arguments: str) -> int:
        """Calls the command line in this process; its exit status."""
        self.patch.setattr(sys, "argv", ["beft", *arguments])
        with pytest.raises(SystemExit) as end:
            app.main()
        return end.value.code or 0

    def tree(self) -> dict[str, str]:
        """What a failed command must not change.

        Every file of the project with its content, and every directory that looks temporary.
        Left out: data/work, where an unfinished run keeps its lock and the reason of its failure,
        what a fetch goes on with, and directories that hold nothing.
        """
        found = {}
        for path in sorted(self.folder.rglob("*")):
            name = path.relative_to(self.folder).as_posix()
            if name.startswith(("data/work/", "data/mirror/.fetching")):
                continue
            if path.is_file():
                found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
            elif path.name.startswith(".") or path.suffix == ".tmp":
                found[name] = "directory"
        return found


def finished(folder: Path, patch: pytest.MonkeyPatch) -> Path:
    """Makes the project and everything of its study up to the scores."""
    sandbox.make(folder, PARAMS, STUDY)
    dataset(folder)
    place = Place(folder, patch)
    for command in (
        ("fetch",),
        ("subsample", place.path("subsets")),
        ("train", place.path("packs")),
        ("score", place.path("cells")),
    ):
        assert place.beft(*command) == 0
    return folder


def dataset(folder: Path) -> None:
    """The local dataset of the task `mine`: alternating labels."""
    lines = [f"the film is {('bad', 'good')[i % 2]} {i},{i % 2}" for i in range(ROWS)]
    for split in ("train", "validation"):
        write(folder / "mine" / f"{split}.csv", "\n".join(["sentence,label", *lines]) + "\n")


def write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def params(*keys: str, to: object) -> Plant:
    """Sets a key of params.yaml."""
    return lambda place: sandbox.change(place.folder / "params.yaml", *keys, to=to)


def study(*keys: str, to: object) -> Plant:
    """Sets a key of studies/mini.yaml."""
    return lambda place: sandbox.change(place.folder / "studies" / "mini.yaml", *keys, to=to)


def used(section: str, name: str, to: object) -> Plant:
    """Defines a model or task in params.yaml, which the study then uses instead of its own."""

    def plant(place: Place) -> None:
        params(section, name, to=to)(place)
        study(section, to=[name])(place)

    return plant


def text(name: str, content: str | bytes) -> Plant:
    """Writes a file of the project."""
    return lambda place: write(place.folder / name, content)


def train_file(suffix: str, content: str | bytes) -> Plant:
    """Replaces the training split of `mine`."""

    def plant(place: Place) -> None:
        (place.folder / "mine" / "train.csv").unlink()
        write(place.folder / "mine" / f"train.{suffix}", content)

    return plant


def remove(*names: str) -> Plant:
    """Removes files or directories of the project."""

    def plant(place: Place) -> None:
        for name in names:
            path = place.folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return plant


def truncate(name: str) -> Plant:
    """Cuts a file in half."""

    def plant(place: Place) -> None:
        path = place.folder / name
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return plant


def failing(function: str, number: int) -> Plant:
    """Makes a function of `os` fail with an error of the operating system."""

    def fail(*arguments, **options):
        raise OSError(number, os.strerror(number))

    return lambda place: place.patch.setattr(os, function, fail)


def then(*plants: Plant) -> Plant:
    """One plant after the other."""

    def plant(place: Place) -> None:
        for each in plants:
            each(place)

    return plant


def settings(where: str, change, cases: list[tuple]) -> list[Case]:
    """Cases of wrong settings: (keys, value, words); `beft plan` must refuse each."""
    return [
        Case(f"{where} {'.'.join(keys)}={value!r}", change(*keys, to=value), "plan", words)
        for keys, value, *words in cases
    ]


def nothing(place: Place) -> None:
    """Plants nothing: the mistake is in the command."""
