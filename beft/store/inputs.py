"""Datasets and weights that runs start from: whether each is what the name of its place says.

A dataset lies in `data/sources/{task}/{digest of its source}/`, and `source.json` in it says what
was read. The marker `data/models/{alias}/{digest of the model}.json` lists the files of a model.
Both names are promises. Here they are compared with the content, and with what a run recorded.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from beft.errors import UserError, one_line
from beft.store.files import CHECKSUMS, flaw, recall_json
from beft.study.identity import WEIGHTS, content_of, digest
from beft.study.recipe import Recipe
from beft.tasks.words import Plain

Sums = dict[str, str]  # file name -> SHA-256

SOURCE = "source.json"
DAMAGED = f"{SOURCE} is damaged"
REMEDY = (
    "restore those, or set the run aside with 'beft verify --repair', so that snakemake trains it "
    "again"
)


def source_flaw(folder: Path) -> str | None:
    """What is wrong with the folder of a normalised dataset; None if it is sound."""
    return flaw(folder) or broken_promise(folder)


def broken_promise(folder: Path) -> str | None:
    """Why an undamaged dataset is not the one that its folder's name says; None if it is."""
    try:
        written = recall_json(folder / SOURCE)
        source, read = written["source"], written["read"]
        if (written["task"], digest(source)) != (folder.parent.name, folder.name):
            return f"{SOURCE} is of another dataset than the folder's name says"
        checks = written.get("checks", read)  # versions that counted nothing have none
        if checks.keys() != read.keys() or not all(isinstance(c, dict) for c in checks.values()):
            return DAMAGED
        for split, content in source.get("content", {}).items():
            if read[split]["sha256"] != content:
                return f"{SOURCE}: split '{split}' was read from another file than its name says"
    except (UserError, KeyError, TypeError, AttributeError):
        return DAMAGED
    return None


def split_checksums(folder: Path) -> Sums:
    """The SHA-256 of each normalised split of a dataset, by file name.

    Raises:
        UserError: when its checksums are missing or damaged.
    """
    sums = recall_json(folder / CHECKSUMS)
    if not isinstance(sums, dict):
        raise UserError(f"{folder / CHECKSUMS}: damaged")
    return {name: value for name, value in sums.items() if name.endswith(".parquet")}


def marked(marker: Path) -> Sums:
    """The SHA-256 of each file of a model, as its marker lists them.

    Raises:
        UserError: when the marker is missing or damaged.
    """
    if not marker.is_file():
        raise UserError(f"{marker}: missing; run 'beft fetch --model {marker.parent.name}' first")
    try:
        return dict(recall_json(marker)["sha256"])
    except (KeyError, TypeError, ValueError, AttributeError):
        raise UserError(f"{marker}: damaged") from None


def marker_flaw(marker: Path, model: Plain) -> str | None:
    """Why a marker does not list the files of the model that a recipe names; None if it does.

    Raises:
        UserError: when it is missing or damaged.
    """
    remedy = f"run 'beft fetch --model {model['alias']}'"
    if not _may_be(marked(marker), model):
        return f"lists other weights than its name says; {remedy}"
    place = recall_json(marker).get("mirror")
    if place != (f"models/{model['hub']}" if "hub" in model else None):
        where = "no folder of a mirror" if place is None else one_line(place)
        return f"says that the model is in {where}, which is not its own; {remedy}"
    return None


def _may_be(sums: Mapping[str, str], model: Plain) -> bool:
    """Whether files may be those of a recipe's model; models of the hub need pin no checksum."""
    if "content" in model:
        return bool(content_of(sums) == model["content"])
    return not model.get("sha256") or sums.get(WEIGHTS) == model["sha256"]


@dataclass(frozen=True)
class Inputs:
    """Datasets and weights as they are on disk, each read on first use and then kept."""

    _datasets: dict[Path, tuple[Sums, bool] | None] = field(default_factory=dict)
    _weights: dict[Path, Sums | None] = field(default_factory=dict)

    def foreign(
        self, recipe: Recipe, recorded: Mapping[str, Sums], source: Path, marker: Path
    ) -> str | None:
        """Why a run was not trained on its recipe's data and weights; None if nothing says so.

        Results outlive their inputs: what is not here, or damaged, is not compared.

        Args:
            recorded: checksums of what it was trained on: `source` and `model`.
            source, marker: where the recipe's dataset and model belong.
        """
        data, weights = recorded["source"], recorded["model"]
        if not _may_be(weights, recipe.model):
            return f"trained on other weights than those of its recipe; {REMEDY}"
        if source not in self._datasets:
            self._datasets[source] = _dataset(source)
        if (dataset := self._datasets[source]) is not None:
            sums, is_another = dataset
            if (data == sums) == is_another:
                return f"trained on other data than {source} should have; {REMEDY}"
        if marker not in self._weights:
            self._weights[marker] = _weights(marker, recipe.model)
        if self._weights[marker] not in (None, weights):
            return f"trained on other weights than {marker} lists; {REMEDY}"
        return None


def _dataset(folder: Path) -> tuple[Sums, bool] | None:
    """The checksums of a dataset, and whether it is another than its folder's name says.

    None if it is not here, or damaged.
    """
    if flaw(folder, lambda name: name == SOURCE) is not None:
        return None
    broken, sums = broken_promise(folder), split_checksums(folder)
    return None if broken == DAMAGED else (sums, bool(broken))


def _weights(marker: Path, model: Plain) -> Sums | None:
    """The checksums that a marker lists; None if they are not here, or not those of the model."""
    try:
        weights = marked(marker)
    except UserError:
        return None
    return weights if _may_be(weights, model) else None
