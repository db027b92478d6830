"""Find runs that computed in another precision than the runs they are compared with.

`precision: auto` is bfloat16 on some machines and float32 on others, under one digest. Provenance
records which of the two a run really had.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from beft.store.run_folder import Run

PRECISIONS = ("float32", "bfloat16")
REMEDY = "name one ('precision: float32' or 'precision: bfloat16') in the study, and train again"
Place = tuple[str, str, str]  # model, task, regime


@dataclass(frozen=True)
class Computed:
    """The precision of one run that counts."""

    place: Place
    technique: str
    setting: str  # what its recipe says: one of `PRECISIONS`, or `auto`
    precision: str  # what it really had; empty if it is not recorded


@dataclass(frozen=True)
class Difference:
    """Runs of one place that computed in different precision.

    Attributes:
        technique: whose runs differ among each other; empty if techniques differ.
        words: which runs or techniques had which precision.
        asked: whether the settings name these very precisions, so that they are meant to differ.
    """

    place: Place
    technique: str
    runs: int
    words: str
    asked: bool


def recorded(precision: object) -> str:
    """A precision as provenance records it; empty for anything else."""
    return precision if isinstance(precision, str) and precision in PRECISIONS else ""


def computed(run: Run) -> Computed:
    """The precision of a run that counts, from its recipe and its provenance."""
    recipe = run.recipe
    place = (recipe.model["alias"], recipe.task["name"], recipe.regime)
    real = recorded(run.provenance.get("precision"))
    return Computed(place, recipe.technique, recipe.training["precision"], real)


def counted(precisions: Iterable[str]) -> str:
    """How many runs had which precision: `2 float32, 1 bfloat16`."""
    return ", ".join(f"{n} {name}" for name, n in sorted(Counter(precisions).items())[::-1])


def differences(runs: Iterable[Computed]) -> list[Difference]:
    """All differences within a cell, then between techniques, of each place in order.

    A run whose precision is not recorded differs from none.
    """
    places: dict[Place, dict[str, list[Computed]]] = {}
    for run in runs:
        if run.precision:
            places.setdefault(run.place, {}).setdefault(run.technique, []).append(run)
    found = []
    for place, techniques in places.items():
        alike: dict[str, list[str]] = {}  # precision -> techniques whose runs all had it
        for technique, own in techniques.items():
            if len({run.precision for run in own}) == 1:
                alike.setdefault(own[0].precision, []).append(technique)
            else:
                words = counted(run.precision for run in own)
                found.append(Difference(place, technique, len(own), words, _asked(own)))
        if len(alike) > 1:
            words = "; ".join(f"{name}: {', '.join(alike[name])}" for name in sorted(alike))
            every = [r for names in alike.values() for name in names for r in techniques[name]]
            found.append(Difference(place, "", len(every), words, _asked(every)))
    return found


def _asked(runs: Iterable[Computed]) -> bool:
    return all(run.setting == run.precision for run in runs)


def remarks(runs: Iterable[Computed]) -> list[str]:
    """What `beft plan` and `beft verify` say: a line of each kind, with the first case."""
    runs = list(runs)
    unasked = [d for d in differences(runs) if not d.asked]
    lines = []
    for found, what in (
        ([d for d in unasked if d.technique], "the runs of one technique"),
        ([d for d in unasked if not d.technique], "techniques"),
    ):
        if found:
            first = found[0]
            where = "/".join(filter(None, (*first.place, first.technique)))
            lines.append(
                f"different precision: in {_cells(len(found))}, {what} computed in different "
                f"precision, and tables mark this; {REMEDY}. The first: {where}: {first.words}"
            )
    if unknown := sum(not run.precision for run in runs):
        lines.append(f"unknown precision: {unknown} of {len(runs)} runs do not record theirs")
    return lines


def _cells(count: int) -> str:
    return f"{count} cell{'s' * (count > 1)}"
