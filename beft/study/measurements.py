"""Select the runs that a study times, and the runs whose biases it merges."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from beft.errors import UserError
from beft.study.fields import nearest
from beft.study.identity import digest
from beft.study.recipe import Recipe
from beft.study.studies import Merging, Study
from beft.techniques import TECHNIQUES
from beft.techniques.base import select_none

TIMING_VERSION = 1  # bumped when the same runs would be timed differently
MERGE_VERSION = 1  # bumped when the same biases would be merged or evaluated differently
SECONDS = ("seconds", "train_seconds")  # what is measured of a run that is timed


@dataclass(frozen=True)
class Timed:
    """Runs that are timed in turn."""

    recipes: tuple[Recipe, ...]  # one per technique, with the study's first seed
    repeats: int

    def path(self) -> str:
        """The file of seconds below `data/timings`; its name is a digest of the runs."""
        key = digest([TIMING_VERSION, self.repeats, [r.digest for r in self.recipes]])
        return f"{self.recipes[0].cell()}/{key}.json"


@dataclass(frozen=True)
class Couple:
    """Two runs of one seed, whose biases are evaluated on both tasks and averaged."""

    tuned: tuple[Recipe, Recipe]  # the runs of the first and the second task
    untuned: tuple[Recipe | None, Recipe | None]  # of both tasks; None if the study has none

    def recipes(self) -> list[Recipe]:
        """All runs that are used."""
        return [*self.tuned, *(r for r in self.untuned if r is not None)]


@dataclass(frozen=True)
class Merged:
    """The couples of one model, regime, technique and pair of tasks."""

    couples: tuple[Couple, ...]  # one per seed that both tasks share

    def recipes(self) -> list[Recipe]:
        """All runs that are used."""
        return [recipe for couple in self.couples for recipe in couple.recipes()]

    def path(self) -> str:
        """The file of results below `data/merges`; its name is a digest of the runs."""
        found = [
            [None if r is None else r.digest for r in (*c.tuned, *c.untuned)] for c in self.couples
        ]
        first = self.couples[0].tuned[0]
        return f"{first.model['alias']}/{first.regime}/{digest([MERGE_VERSION, found])}.json"


Runs = dict[tuple[str, str, str, str], dict[int, Recipe]]  # (model, task, regime, technique), seed


def timed(study: Study, recipes: Iterable[Recipe], where: str) -> dict[str, Timed]:
    """The runs that a study times, by file; `where` names the study in error messages.

    Raises:
        UserError: a run to time is not among the study's.
    """
    runs, found = _runs(recipes), []
    for entry in study.timing:
        key = (entry.model, entry.task, entry.regime)
        groups = [_find(runs, f"{where}: timing", *key, name) for name in entry.techniques]
        found.append(Timed(tuple(next(iter(seeds.values())) for seeds in groups), entry.repeats))
    return {each.path(): each for each in found}


def merged(study: Study, recipes: Iterable[Recipe], where: str) -> dict[str, Merged]:
    """The couples that a study merges, by file.

    Raises:
        UserError: a run to merge is not among the study's, or tunes more than biases.
    """
    runs = _runs(recipes)
    found = [_merged(entry, runs, f"{where}: merging") for entry in study.merging]
    return {each.path(): each for each in found}


def _runs(recipes: Iterable[Recipe]) -> Runs:
    """Runs by model, task, regime and technique, then by seed; the first of several settings."""
    found: Runs = {}
    for r in recipes:
        key = (r.model["alias"], r.task["name"], r.regime, r.technique)
        found.setdefault(key, {}).setdefault(r.seed, r)
    return found


def _merged(entry: Merging, runs: Runs, where: str) -> Merged:
    technique = entry.technique
    tuned = [_find(runs, where, entry.model, t, entry.regime, technique) for t in entry.tasks]
    known = TECHNIQUES[technique]
    if not known.biases_only or known.select is select_none:
        raise UserError(
            f"{where}: technique '{technique}' tunes more than biases, or none: only biases are "
            "merged; use b_v or its likes"
        )
    seeds = [seed for seed in tuned[0] if seed in tuned[1]]
    if not seeds:
        raise UserError(f"{where}: {' and '.join(entry.tasks)} have no seed in common")
    plain = [runs.get((entry.model, t, entry.regime, "untuned"), {}) for t in entry.tasks]
    couples = (
        Couple((tuned[0][s], tuned[1][s]), (plain[0].get(s), plain[1].get(s))) for s in seeds
    )
    return Merged(tuple(couples))


def _find(runs: Runs, where: str, *key: str) -> dict[int, Recipe]:
    """Finds the runs with this key, by seed; the error names the first part that no run has."""
    if key in runs:
        return runs[key]
    left: Sequence[tuple] = list(runs)
    for i, kind in enumerate(("model", "task", "regime", "technique")):
        fit = [k for k in left if k[i] == key[i]]
        if not fit:
            before = f" for {' '.join(key[:i])}" if i else ""
            raise UserError(
                f"{where}: {kind} '{key[i]}': the study has no such runs{before}; "
                f"{nearest(key[i], {k[i] for k in left})}"
            )
        left = fit
    raise AssertionError("unreachable: one part differs")
