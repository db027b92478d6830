"""The table of gradients: measured sizes, what counts as inert, and what was not measured."""

from dataclasses import replace

import pandas as pd
from support.frames_of import frames_of

from beft.report.frames.columns import COLUMNS
from beft.report.frames.schema import Frames
from beft.report.tables.formats import plain, to_csv
from beft.report.tables.inert import inert
from beft.report.tables.table import Shown


def study(measured: dict[str, list[float]]) -> Frames:
    """Term -> relative size of each seed; below 1e-4 is flagged."""
    rows = [
        ["m", "t", "low", seed, term, size / 1000, size, size < 1e-4]
        for term, sizes in measured.items()
        for seed, size in enumerate(sizes)
    ]
    table = pd.DataFrame(rows, columns=COLUMNS["gradients"])
    return frames_of({}, gradients=table)


def cells(frames: Frames) -> dict[str, Shown]:
    part = inert(frames).parts[0]
    return dict(zip(part.columns, part.rows[0], strict=True))


def test_sizes_and_marks() -> None:
    found = cells(study({"v": [1.0, 1.0], "q": [0.2, 0.4], "k": [1e-7, 3e-7]}))
    assert list(found) == ["task", "regime", "q", "k", "v"]
    assert plain(found["q"]) == "0.300 (0.200 to 0.400, n=2)"
    assert plain(found["k"]) == "2.0e-07° (1.0e-07 to 3.0e-07, n=2)"
    assert plain(found["v"]).startswith("1.000 (")


def test_seeds_that_differ_are_said() -> None:
    found = cells(study({"q": [1.0, 1.0], "k": [5e-5, 5e-3]}))
    assert found["k"].problem == "1/2 inert" and not found["k"].marks


def test_zero_gradients_and_terms_without_any() -> None:
    frames = study({"q": [float("nan")], "v": [1.0]})
    assert cells(frames)["q"].problem == "undefined"
    other = frames.gradients[frames.gradients["term"] == "v"].assign(task="u")
    both = replace(frames, gradients=pd.concat([frames.gradients, other]))
    assert plain(inert(both).parts[0].rows[1][2]) == "— not measured"


def test_one_seed_has_no_range() -> None:
    assert plain(cells(study({"q": [0.5]}))["q"]) == "0.500 (n=1)"


def test_csv_keeps_what_is_nearly_nothing() -> None:
    text = to_csv(inert(study({"q": [1.0], "k": [2e-7]})))
    assert ",k,2e-10,2e-07,2e-07,2e-07,1,1\n" in text


def test_the_threshold_is_said() -> None:
    assert any("below 0.0001 of the largest" in note for note in inert(study({"q": [1.0]})).notes)
