"""Where a project keeps its files: every folder of `data/`."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

from beft.study.recipe import Recipe

Folder = Literal[
    "sources",  # normalised datasets
    "subsets",  # the rows that each task, regime and seed trains on
    "models",  # one file per model: which weights were fetched
    "runs",  # one folder per trained recipe
    "packs",  # one manifest per training job
    "scores",  # what selectors compute from runs
    "timings",  # seconds of runs that were timed alone
    "merges",  # metrics of merged biases
    "own",  # rows that `beft tune --study` cut, and its plans
    "mirror",  # datasets and models as the hub has them
    "collected",  # one file, which names the study that reports/ shows
    "work",  # locks, checkpoints, and folders that were found damaged
]


@dataclass(frozen=True)
class Layout:
    """Paths of one project."""

    root: Path  # the folder of params.yaml

    @cached_property
    def data(self) -> Path:
        return self.root / "data"

    @cached_property
    def _folders(self) -> dict[Folder, Path]:
        return {kind: self.data / kind for kind in get_args(Folder)}

    def folder(self, kind: Folder) -> Path:
        """One of the folders of `data/`."""
        return self._folders[kind]

    def run(self, recipe: Recipe) -> Path:
        """A run's folder."""
        return self.folder("runs") / recipe.folder()

    def source(self, recipe: Recipe) -> Path:
        """The folder of a run's normalised dataset."""
        return self.folder("sources") / recipe.source_path()

    def subset(self, recipe: Recipe) -> Path:
        """The file that lists a run's training rows."""
        return self.folder("subsets") / recipe.subset_path()

    def model(self, recipe: Recipe) -> Path:
        """The file that says which weights a run starts from."""
        return self.folder("models") / recipe.model_path()

    def pack(self, key: str) -> Path:
        """The manifest of a pack (`Pack.manifest`)."""
        return self.folder("packs") / key

    def scores(self, key: str) -> Path:
        """A file of scores (`Cell.files`)."""
        return self.folder("scores") / key

    def timing(self, key: str) -> Path:
        """A file of seconds (`Timed.path`)."""
        return self.folder("timings") / key

    def merge(self, key: str) -> Path:
        """A file of merged biases' metrics (`Merged.path`)."""
        return self.folder("merges") / key

    def work(self, name: str) -> Path:
        """A folder for unfinished work: the lock and checkpoint of a run (its digest), ..."""
        return self.folder("work") / name

    @property
    def mirror(self) -> Path:
        """The mirror that `beft fetch` writes to."""
        return self.folder("mirror")
