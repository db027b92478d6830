"""The runs of one model, task and regime, which are scored together."""

from dataclasses import dataclass

from beft.study.identity import digest
from beft.study.recipe import Recipe

SCORE_VERSION = 1  # raised when the same snapshots would be scored differently


@dataclass(frozen=True)
class Cell:
    """The runs of one (model, task, regime) that selectors score."""

    recipes: tuple[Recipe, ...]  # runs whose snapshots and gradients are scored
    selectors: tuple[str, ...]  # names of the selectors that score them
    further: tuple[Recipe, ...] = ()  # `all_biases` with other settings: trajectories only

    @property
    def runs(self) -> tuple[Recipe, ...]:
        """All runs that are scored."""
        return (*self.recipes, *self.further)

    def scores(self) -> str:
        """The file of scores below `data/scores`; its name is a digest of runs and selectors."""
        covered = [[r.digest for r in group] for group in (self.recipes, self.further) if group]
        return f"{self.recipes[0].cell()}/{digest([SCORE_VERSION, self.selectors, *covered])}.csv"

    def trajectories(self) -> str:
        """The file of scores after each epoch."""
        return self.scores().replace(".csv", ".epochs.csv")

    def gradients(self) -> str:
        """The file of the size of each term's gradient."""
        return self.scores().replace(".csv", ".gradients.csv")

    def files(self) -> tuple[str, ...]:
        """All three files, in the order in which Snakemake's rule declares them."""
        return self.scores(), self.trajectories(), self.gradients()
