"""The table of comparisons, its verdicts, and the sign that they put into Table 1."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from beft.report.frames.columns import COLUMNS
from beft.report.frames.schema import Frames
from beft.report.tables import formats, registry
from beft.report.tables.comparisons import comparisons, judged, verdicts
from beft.report.tables.table import Table

PLACE = {"model": "mini-rotary", "task": "sst2", "regime": "low", "split": "validation"}
SURE = {"difference": 0.05, "low": 0.02, "high": 0.08, "runs": 5, "examples": 800,
        "p_runs": 0.0625, "p_runs_corrected": 1.0, "p_examples": 0.0002,
        "p_examples_corrected": 0.0126, "family": 63, "note": ""}  # fmt: skip


def compared(*rows: dict) -> pd.DataFrame:
    filled = [
        {**PLACE, "epoch": "best", "first": "b_v", "second": "b_q", **SURE, **r} for r in rows
    ]
    return pd.DataFrame(filled, columns=COLUMNS["comparisons"])


def with_comparisons(frames: Frames, *rows: dict) -> Frames:
    return replace(frames, comparisons=compared(*rows))


NAN = math.nan
OVER_RUNS = {"p_examples": NAN, "p_examples_corrected": NAN, "examples": 0}


@pytest.mark.parametrize(
    ("changed", "better", "words"),
    [
        ({}, "b_v", "v better"),
        ({"difference": -0.05, "low": -0.08, "high": -0.02}, "b_q", "q better"),
        ({"second": "full", "difference": -0.05, "low": -0.08, "high": -0.02}, "full",
         "full better"),
        ({"p_examples_corrected": 0.05}, "", "not separated"),
        ({"low": -0.01}, "", "not separated"),  # these runs differ, others might not
        ({"runs": 1, "p_runs": NAN, "p_runs_corrected": NAN}, "", "v better in the one run"),
        (OVER_RUNS, "", "not separated"),
        ({**OVER_RUNS, "p_runs_corrected": 0.03}, "b_v", "v better"),
        ({**OVER_RUNS, "p_runs_corrected": NAN, "low": NAN, "high": NAN}, "", "not tested"),
    ],
)  # fmt: skip
def test_verdicts(frames, changed, better, words):
    (row,) = judged(with_comparisons(frames, changed)).itertuples()
    assert (row.better, row.verdict) == (better, words)


def test_a_row_says_all(frames):
    table = comparisons(with_comparisons(frames, {}, {"epoch": "last", "difference": 0.01}))
    (part,) = table.parts
    (cells,) = part.rows
    assert part.caption == "mini-rotary" and len(cells) == len(part.columns)
    assert [formats.plain(cell) for cell in cells] == [
        "sst2", "low", "b_v", "b_q", "+5.0", "+2.0 to +8.0", "0.0625", "1.0000", "0.0002", "0.0126",
        "5", "800", "v better",
    ]  # fmt: skip
    assert table.tidy["epoch"].tolist() == ["best", "last"]
    assert any("Holm" in note and "in all: 63" in note for note in table.notes)


def test_tiny_p_are_not_shown_as_zero(frames):
    table = comparisons(with_comparisons(frames, {"p_examples": 3e-9}))
    assert table.parts[0].rows[0][8].text == "below 0.0001"
    head, line = (text.split(",") for text in formats.to_csv(table).splitlines())
    assert dict(zip(head, line, strict=True))["p_examples"] == "3e-09"


def test_gaps_are_dashes_with_a_word(frames):
    told = {**OVER_RUNS, "low": NAN, "high": NAN, "p_runs": NAN, "p_runs_corrected": NAN}
    table = comparisons(with_comparisons(frames, {**told, "note": "fewer than 3 runs"}))
    cells = [formats.plain(cell) for cell in table.parts[0].rows[0]]
    assert cells[5:] == ["— fewer than 3 runs", "—", "—", "—", "—", "5", "—", "not tested"]


def test_rows_stand_in_the_order_of_the_study(frames):
    rows = [{"task": t, "regime": r, "model": m} for m in ("mini-rotary", "bert-base-cased")
            for t in ("stsb", "sst2") for r in ("high", "low")]  # fmt: skip
    found = judged(with_comparisons(frames, *rows))
    assert found["model"].tolist() == ["bert-base-cased"] * 4 + ["mini-rotary"] * 4
    assert found["task"].tolist()[:4] == ["sst2", "sst2", "stsb", "stsb"]
    assert found["regime"].tolist()[:2] == ["low", "high"]


def mark(table: Table, technique: str, part: int = 1) -> str:
    grid = table.parts[part]
    found = [r for r in grid.rows if (r[0].text, r[1].text) == ("low", technique)]
    return found[0][grid.columns.index("sst2")].marks


@pytest.mark.parametrize(
    ("rows", "marked"),
    [
        ([{}, {"second": "b_k"}], True),
        ([{}, {"second": "b_k", "low": -0.01}], False),  # not ahead of every other term
        ([{}], False),  # never compared with b_k
        ([{}, {"second": "b_k"}, {"first": "b_q", "second": "b_k", "low": -0.01}], True),
        ([{"epoch": "last"}, {"second": "b_k", "epoch": "last"}], False),  # of another epoch
        ([{"split": "other"}, {"second": "b_k", "split": "other"}], False),
    ],
)
def test_table_1_marks_a_lead_over_every_other_term(frames, rows, marked):
    """In the synthetic study b_v is the best term of this place."""
    table = registry.table1(with_comparisons(frames, *rows))
    assert ("*" in mark(table, "b_v")) == marked
    assert not any("*" in mark(table, other) for other in ("b_q", "b_k", "full"))
    assert any(note.startswith("* ") for note in table.notes) == marked
    assert r"\*" in formats.to_markdown(table) or not marked


def test_pairs_are_known_by_their_names_in_any_order(frames):
    found = verdicts(with_comparisons(frames, {"first": "b_v", "second": "b_k"}), "best")
    assert found == {("mini-rotary", "sst2", "low", "validation", "b_k", "b_v"): "b_v"}


def test_three_runs_without_examples_separate_nothing(frames):
    """Three runs cannot give a p below 0.25."""
    found = judged(frames)
    assert len(found) and set(found["verdict"]) <= {"not separated", "not tested"}
    assert np.nanmin(found["p_runs"]) == 0.25


HOSTILE = r"<script>$a_b|c"


def test_hostile_names_are_escaped(decoders):
    study = decoders({(HOSTILE, HOSTILE, t): [0.5, 0.6] for t in ("b_v", "b_q")})
    place = {"model": HOSTILE, "task": HOSTILE, "note": HOSTILE}
    table = comparisons(with_comparisons(study, place))
    assert "<script>" not in formats.to_latex(table).replace(r"\textless{}", "")
    assert r"\<script>$a_b\|c" in formats.to_markdown(table)


def test_page_shows_intervals(frames, tmp_path):
    from beft.report.page import render

    found = {name: registry.by_epoch(name, frames) for name in ("table1", "comparisons")}
    cell = next(c for row in found["table1"]["best"].parts[0].rows for c in row if c.interval)
    page = render.render(frames, found, tmp_path)
    assert f">{cell.interval}<" in page and "not separated" in page
