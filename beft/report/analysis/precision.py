"""Read from frames which runs computed in which precision, and where they differ."""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice

import pandas as pd

from beft.report.frames.columns import CELL, KEYS
from beft.report.frames.schema import Frames, derived, rows_of
from beft.store import precision as rule
from beft.store.precision import Computed, Difference

MOST = 5  # notes of a table
Cell = tuple[str, str, str, str]  # model, task, regime, technique


@derived
def runs(frames: Frames) -> list[Computed]:
    """The precision of every run that counts."""
    fine = frames.runs.loc[frames.runs["status"] == "ok", [*KEYS, "digest"]]
    known = frames.provenance.reindex(columns=["digest", "precision", "precision_setting"])
    joined = fine.merge(known.drop_duplicates("digest"), "left", "digest")
    return [
        Computed(
            (str(row.model), str(row.task), str(row.regime)),
            str(row.technique),
            str(row.precision_setting),
            rule.recorded(row.precision),
        )
        for row in rows_of(joined)
    ]


@derived
def of_cells(frames: Frames) -> dict[Cell, Counter[str]]:
    """How many runs of each cell had which precision; runs without a record are left out."""
    found: dict[Cell, Counter[str]] = {}
    for run in runs(frames):
        if run.precision:
            found.setdefault((*run.place, run.technique), Counter())[run.precision] += 1
    return found


def words(counts: Counter[str]) -> str:
    """`float32`, or `2 float32, 1 bfloat16` where runs differ; empty where nothing is recorded."""
    return next(iter(counts)) if len(counts) == 1 else rule.counted(counts.elements())


def against(known: dict[Cell, Counter[str]], first: Cell, second: Cell) -> str:
    """Which precision two cells had that are compared; empty where it is the same."""
    one, two = known.get(first, Counter()), known.get(second, Counter())
    differ = one and two and len(one | two) > 1
    return f"{words(one)} against {words(two)}" if differ else ""


@derived
def apart(frames: Frames) -> set[Cell]:
    """The cells in another precision than most techniques of their place (float32 if as many)."""
    places: dict[tuple, dict[Cell, str]] = {}
    for cell, counts in of_cells(frames).items():
        if len(counts) == 1:
            places.setdefault(cell[:3], {})[cell] = next(iter(counts))
    found: set[Cell] = set()
    for cells in places.values():
        counts = Counter(cells.values())
        usual = max(counts, key=lambda name: (counts[name], name))
        found |= {cell for cell, name in cells.items() if name != usual}
    return found


def unlike(frames: Frames) -> list[Difference]:
    """The differences that no setting asks for, for the page's list of problems."""
    return [d for d in rule.differences(runs(frames)) if not d.asked]


def told(table: pd.DataFrame, frames: Frames) -> pd.DataFrame:
    """Say which precision the runs of a cell had, as a problem where they differ."""
    known = of_cells(frames)
    found = [known.get(key, Counter()) for key in table[KEYS].itertuples(index=False, name=None)]
    mixed = [words(each) if len(each) > 1 else "" for each in found]
    texts = zip(table["short"], table["reason"], mixed, strict=True)
    both = [
        (_joined(short, m), _joined(reason, m and f"precision differs: {m}"))
        for short, reason, m in texts
    ]
    return table.assign(
        problem=[short for short, _ in both],
        reason=[reason for _, reason in both],
        precision=list(map(words, found)),
    )


def _joined(*words: str) -> str:
    return ", ".join(filter(None, words))


def notes(frames: Frames, tidy: pd.DataFrame) -> Iterator[str]:
    """What a table says of different precision in the places that it shows, meant or not."""
    names = [set(tidy[key].astype(str)) if key in tidy else set() for key in CELL]
    known = [set(frames.runs[key].astype(str)) for key in CELL]
    # a table may sum up over all values of a key, so that it names none of them
    shown = [own & every or every for own, every in zip(names, known, strict=True)]
    cases: dict[str, list[str]] = {}
    for found in rule.differences(runs(frames)):
        if all(name in own for name, own in zip(found.place, shown, strict=True)):
            said = f"{found.technique}: {found.words}" if found.technique else found.words
            cases.setdefault(said, []).append(", ".join(found.place))
    for said, places in islice(cases.items(), MOST):
        yield f"Different precision: {said} ({_listed(places)})."
    if (more := len(cases) - MOST) > 0:
        cases_left = f"{more} more case{'s' * (more > 1)}"
        yield f"Different precision: {cases_left}; provenance.csv has every run's."


def _listed(places: Iterable[str]) -> str:
    first, *more = places
    return f"{first}, and {len(more)} more" if more else first
