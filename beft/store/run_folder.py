"""Read the folder of a run, whose files `run_format` describes, and decide whether it counts."""

import csv
import io
import json
import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from beft.errors import UserError
from beft.store import run_format as F
from beft.store.failures import Status, noted_failure
from beft.store.files import CHECKSUMS, all_flaws, flaw, from_json, read_json
from beft.store.inputs import Inputs
from beft.store.manifest import read_manifest
from beft.store.owners import last_owner
from beft.store.run_format import Epoch, Group, Metrics, Snapshot, Statistic
from beft.study.identity import sha256
from beft.study.layout import Layout
from beft.study.recipe import Recipe
from beft.tasks.words import Plain

REDO = "run 'beft verify --repair' and then snakemake again"
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Run:
    """A run on disk, whose files are read on first use and then kept, until `forget`.

    Only `flaw`, `foreign`, `unsound`, `status` and `reason` check the folder; all else reads it
    unchecked.
    """

    recipe: Recipe
    folder: Path  # the run's folder, which need not exist
    work: Path  # where an unfinished run keeps its lock and checkpoint
    source: Path  # the folder of its dataset
    marker: Path  # the file that lists its weights
    manifest: Path | None = None  # of its pack: the runs that it was written for, and those skipped
    quick: bool = False  # checks only files of a few kilobytes: recipe, metrics, provenance
    inputs: Inputs = field(default_factory=Inputs, compare=False, repr=False)
    _contents: dict[str, bytes] = field(default_factory=dict, compare=False, repr=False)
    _read: dict[str, Arrays] = field(default_factory=dict, compare=False, repr=False)

    @property
    def is_written(self) -> bool:
        """Whether the folder is there; a folder is there whole or not at all."""
        return (self.folder / CHECKSUMS).is_file()

    @property
    def checksum(self) -> str | None:
        """SHA-256 over the checksums of all files; None when the run is not there."""
        return sha256(self.folder / CHECKSUMS) if self.is_written else None

    @cached_property
    def flaw(self) -> str | None:
        """Why the folder is no whole run of this recipe; `missing` if absent, None if whole."""
        words = (F.RECIPE, F.METRICS, F.PROVENANCE)
        wanted = (lambda name: name in words) if self.quick else (lambda name: True)
        problem = flaw(self.folder, wanted, self._contents)
        return problem or self._misfit()

    def _misfit(self) -> str | None:
        """Why a JSON file of the folder is not what is read of it; None if each is."""
        recipe = self.recipe.to_dict()
        try:
            written = self._json(F.RECIPE)
            if written != recipe and written != json.loads(json.dumps(recipe)):
                return f"{F.RECIPE} is not the recipe of this folder's name"
            splits = self.recipe.task["validation"]
            metrics = F.json_flaw(F.METRICS, self.metrics, splits)
            return metrics or F.json_flaw(F.PROVENANCE, self.provenance)
        except UserError as error:
            return str(error).removeprefix(f"{self.folder}/")

    def flaws(self) -> list[str]:
        """Everything that is wrong with the folder."""
        return (all_flaws(self.folder) or [self.flaw]) if self.flaw else []

    @cached_property
    def foreign(self) -> str | None:
        """Why a whole run is not of its recipe's data and weights; None if nothing says so."""
        try:
            recorded = self.provenance["inputs"]
            return self.inputs.foreign(self.recipe, recorded, self.source, self.marker)
        except (UserError, KeyError, TypeError, AttributeError):
            return f"{F.PROVENANCE} does not say what it was trained on"

    @property
    def is_sound(self) -> bool:
        """Whether the folder holds a whole run of its recipe's data and weights."""
        return self.flaw is None and self.foreign is None

    @cached_property
    def unsound(self) -> str | None:
        """Why the run does not count, be it damaged, foreign or not that of its manifest."""
        return self.flaw or self.foreign or self._unlisted()

    def _unlisted(self) -> str | None:
        """Why a written run is not the one that its manifest was written for."""
        with suppress(UserError):  # a manifest that cannot be read says nothing
            if self.manifest is not None and self.manifest.is_file():
                entry = read_manifest(self.manifest).get(self.recipe.digest)
                if entry and entry["checksums"] not in (None, self.checksum):
                    return f"not the run that {self.manifest.name} was written for; {REDO}"
        return None

    @property
    def status(self) -> Status:
        """`ok` if the run counts; otherwise what happened to it."""
        return self._outcome[0]

    @property
    def reason(self) -> str:
        """Why the status is what it is; empty for `ok`."""
        return self._outcome[1]

    @cached_property
    def _outcome(self) -> tuple[Status, str]:
        if self.unsound is None:
            return self.metrics["status"], self.metrics["reason"]
        if self.unsound != "missing":
            return "failed", self.unsound
        if self.manifest is not None and self.manifest.is_file():
            entry = read_manifest(self.manifest).get(self.recipe.digest)
            if entry and entry["status"] == "skipped":
                return "skipped", entry["reason"]
            return "failed", "lost: its manifest is there, its folder is not"
        if noted := noted_failure(self.work):
            return noted
        if owner := last_owner(self.work):
            return "missing", f"begun by {owner}, which has not ended it"
        return "missing", "not run yet"

    @cached_property
    def metrics(self) -> Metrics:
        return self._json(F.METRICS)

    @cached_property
    def provenance(self) -> Plain:
        return self._json(F.PROVENANCE)

    def history(self) -> Iterator[tuple[int, float, dict[str, float]]]:
        """Each epoch's number, training loss, and reported metric of each split; NaN if undefined.

        A run that was not trained has one line, of epoch 0.
        """
        # By hand: a data frame for each of thousands of runs would take most of a report's time.
        lines = self.history_lines()
        columns, metric = next(lines), self.recipe.task["metric"]
        places = {s: columns.index(F.column(s, metric)) for s in self.recipe.splits()}
        for line in lines:
            values = {split: float(line[i] or math.nan) for split, i in places.items()}
            yield int(line[0]), float(line[1] or math.nan), values

    def history_lines(self) -> Iterator[list[str]]:
        """The lines of history.csv, its columns first."""
        return csv.reader(io.StringIO(self._bytes(F.HISTORY).decode(), newline=""))

    def biases(self, when: Snapshot) -> Arrays:
        """All biases before training, after it, or after an epoch: term -> (layers, width)."""
        return self._group(F.BIASES, when)

    def tuned(self, epoch: Epoch) -> Arrays:
        """All biases after the best or the last epoch: term -> (layers, width)."""
        return self.biases("post" if epoch == "last" else self.metrics["best_epoch"])

    def snapshots(self) -> list[int]:
        """The epochs after which there are biases, in order."""
        return F.epochs_of(self._arrays(F.BIASES))

    def gradients(self, statistic: Statistic) -> Arrays:
        """A statistic of the gradients at the pretrained weights: term -> (layers, width)."""
        return self._group(F.GRADIENTS, statistic)

    def head(self, epoch: Epoch) -> Arrays:
        """The head after an epoch: parameter -> value; empty for decoders."""
        return self._group(F.HEAD, epoch)

    def predictions(self, epoch: Epoch) -> Arrays:
        """The predictions after an epoch: split -> (examples, ...)."""
        return self._group(F.PREDICTIONS, epoch)

    def example_sums(self, epoch: Epoch) -> Arrays:
        """What each example adds to the metric: split -> (examples, k). Early runs have none."""
        there = F.EXAMPLES in self._contents or (self.folder / F.EXAMPLES).is_file()
        return self._group(F.EXAMPLES, epoch) if there else {}

    def _group(self, file: str, name: Group) -> Arrays:
        prefix = f"{F.group_name(name)}/"
        arrays = self._arrays(file).items()
        return {key.removeprefix(prefix): a for key, a in arrays if key.startswith(prefix)}

    def _arrays(self, file: str) -> Arrays:
        from safetensors.numpy import load_file

        if file not in self._read:
            self._read[file] = load_file(self.folder / file)
        return self._read[file]

    def _bytes(self, file: str) -> bytes:
        """The content of a file, as it was when it was checked."""
        return self._contents.get(file) or (self.folder / file).read_bytes()

    def _json(self, file: str) -> Any:
        path, content = self.folder / file, self._contents.get(file)
        return from_json(path, content) if content else read_json(path)

    def forget(self) -> None:
        """Keeps of the folder only what was found out about it, its metrics and provenance."""
        self._contents.clear()
        self._read.clear()


def open_run(
    layout: Layout,
    recipe: Recipe,
    manifest: Path | None = None,
    quick: bool = False,
    inputs: Inputs | None = None,
) -> Run:
    """The run of a recipe, whether it is there or not.

    Args:
        manifest, quick: as in `Run`.
        inputs: given to all runs that a command opens, so that it reads each input once.
    """
    work = layout.work(recipe.digest)
    places = layout.run(recipe), work, layout.source(recipe), layout.model(recipe)
    return Run(recipe, *places, manifest, quick, inputs or Inputs())


def check_sound(run: Run) -> None:
    """Makes sure that a run is there and counts.

    Raises:
        UserError: when it is missing, damaged, or of other data or weights than its recipe's.
    """
    if run.unsound:
        remedy = f"; {REDO}" if run.flaw else ""
        raise UserError(f"{run.folder}: {run.unsound}{remedy}")
