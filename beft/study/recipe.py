"""Recipes: one fully resolved run each, and the packs of them that one job trains."""

from dataclasses import dataclass
from functools import cached_property

from beft.models.terms import PROJECTIONS
from beft.study.identity import digest
from beft.tasks.words import Plain
from beft.techniques import TECHNIQUES

RECIPE_VERSION = 3  # bumped when the same recipe would give other numbers (beft/code_identity.py)
SOURCE_VERSION = 1  # bumped when the same dataset would be normalised differently
# The same of local files, and of class names that are numbers or booleans, which were read
# differently when the others were not.
READING_VERSION = 2
SUBSET_VERSION = 1  # bumped when the same rows would be drawn differently

HELD_OUT = "held_out"  # the part of a training subset that chooses the epoch, as a split


@dataclass(frozen=True)
class Recipe:
    """One fully resolved run. Equal content means equal digest means the same folder."""

    model: Plain  # alias, and source of the weights: `hub` and `revision`, or `content`
    task: Plain  # name, and how its rows become examples (`tasks.Task.to_dict`)
    source: str  # digest of the dataset's source
    subset: Plain  # regime, its size, and whether it is stratified
    technique: str  # a name of `beft.techniques`
    seed: int  # of the subset, the head, the order of examples, dropout and random masks
    training: Plain  # every setting of the fine-tune (`params.Training`)
    version: int = RECIPE_VERSION

    def to_dict(self) -> Plain:
        """Plain data, as it stands in recipe.json."""
        return {
            "version": self.version,
            "model": self.model,
            "task": self.task,
            "source": self.source,
            "subset": self.subset,
            "technique": self.technique,
            "seed": self.seed,
            "training": self.training,
        }

    @cached_property
    def digest(self) -> str:
        """The recipe's identity."""
        return digest(self.to_dict())

    @property
    def regime(self) -> str:
        return self.subset["regime"]

    @property
    def pooling(self) -> str:
        """What an encoder's head reads (`Overrides.pooling`)."""
        return self.training.get("pooling", "first")

    @property
    def evaluates_each_epoch(self) -> bool:
        """Whether it is evaluated after every epoch, not only after the last one."""
        return self.training.get("evaluations", "each_epoch") == "each_epoch"

    def cell(self) -> str:
        """`model/task/regime`, the part of every path that packs and scores share."""
        return f"{self.model['alias']}/{self.task['name']}/{self.regime}"

    def folder(self) -> str:
        """The run's folder below `data/runs`."""
        return f"{self.cell()}/{self.technique}/seed-{self.seed}/{self.digest}"

    def splits(self) -> list[str]:
        """What it is evaluated on; the first of them chooses the best epoch."""
        return [HELD_OUT] * ("held_out" in self.training) + self.task["validation"]

    def subset_path(self) -> str:
        """The subset's index file below `data/subsets`."""
        name = self.task["name"]
        key = digest([SUBSET_VERSION, name, self.source, self.subset, self.seed])
        return f"{name}/{self.regime}/seed-{self.seed}/{key}.parquet"

    def source_path(self) -> str:
        """The dataset's folder below `data/sources`."""
        return f"{self.task['name']}/{self.source}"

    def model_path(self) -> str:
        """The model's marker below `data/models`: the declaration that was fetched."""
        return f"{self.model['alias']}/{digest(self.model)}.json"


@dataclass(frozen=True)
class Pack:
    """Runs that one job trains on one frozen model."""

    recipes: tuple[Recipe, ...]  # all of one (model, task, regime)
    skip_inert: bool  # leave out runs of terms that turn out inert

    def may_skip(self, recipe: Recipe) -> bool:
        """Whether a run may be left out, should its term turn out inert."""
        return self.skip_inert and TECHNIQUES[recipe.technique].term in PROJECTIONS

    def manifest(self) -> str:
        """The pack's manifest below `data/packs`, named by the digests of the runs it covers."""
        key = digest([self.skip_inert, sorted(r.digest for r in self.recipes)])
        return f"{self.recipes[0].cell()}/{key}.json"


def metrics_of(task: Plain) -> list[str]:
    """The metrics that a recipe's task is evaluated by; the first one is reported."""
    return task.get("metrics", [task["metric"]])


def kind_of(model: Plain) -> str:
    """Whether a recipe's model is an `encoder` or a `decoder`."""
    return model.get("kind", "encoder")


def fits_head(training: Plain) -> bool:
    """Whether a run's head is fitted to the training examples at each evaluation, not trained."""
    return training.get("head") == "fitted"


def compares_pairs(training: Plain) -> bool:
    """Whether the loss of a run's batch is one of its pairs, so that no batch is split."""
    return training.get("objective") == "contrastive_pairs"
