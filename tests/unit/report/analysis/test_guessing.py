"""Cells in which nothing beats guessing, constant runs, and every place that says so."""

import json
from dataclasses import replace

import pandas as pd
import pytest
from support.guessed import guessed

from beft.cli.reports import selected_terms
from beft.report.analysis import cells as grid
from beft.report.analysis import guessing
from beft.report.analysis.selection import selection
from beft.report.frames.schema import frame, read, write
from beft.report.metrics_json import dump, metrics_json
from beft.report.page.circumstances import problems
from beft.report.page.overview import overview
from beft.report.tables import metric_cells
from beft.report.tables.formats import plain
from beft.report.tables.selection import selection as selection_table
from beft.report.tables.table1 import table1
from beft.report.tables.table4 import table4
from beft.report.tables.table5 import table5

PLACE = {"model": "m", "task": "t", "regime": "low", "split": "validation", "epoch": "best"}
VALUES = {"b_v": 0.8, "b_q": 0.7, "b_k": 0.6}


def study(decoders, values=VALUES, lows=None, rate=0.5, **more):
    """One cell, each technique with its mean and the low end of its interval."""
    numbers = {("m", "t", name): [value] * 3 for name, value in values.items()}
    made = guessed(decoders(numbers, **more), {"t": rate})
    rows = [
        {**PLACE, "technique": name, "low": low, "high": 1.0, "note": ""}
        for name, low in (lows or {}).items()
    ]
    return replace(made, intervals=frame("intervals", rows))


@pytest.mark.parametrize(
    ("lows", "rate", "expected"),
    [
        ({"b_v": 0.6, "b_q": 0.4, "b_k": 0.3}, 0.5, False),  # one is above
        ({"b_v": 0.49, "b_q": 0.4, "b_k": 0.3}, 0.5, True),
        ({"b_v": 0.5, "b_q": 0.5, "b_k": 0.5}, 0.5, True),  # equal is not above
        ({"b_v": 0.6}, 0.65, False),  # b_q has no interval, and its mean is above
        ({"b_v": 0.6, "b_q": 0.6}, 0.61, True),
        ({}, 0.75, False),
        ({}, 0.8, True),
        ({"b_v": 0.1, "b_q": 0.1, "b_k": 0.1}, float("nan"), False),  # nothing is known
    ],
)
def test_nothing_beats_guessing_if_no_interval_lies_above_it(decoders, lows, rate, expected):
    found = guessing.unbeaten(study(decoders, lows=lows, rate=rate))
    assert found == ({("m", "t", "low", "validation")} if expected else set())


def test_the_untrained_model_is_no_technique_and_the_other_epoch_no_number_of_this_one(decoders):
    values = {"b_v": 0.5, "b_q": 0.5, "untuned": 0.9}
    frames = study(decoders, values, rate=0.5)
    assert guessing.unbeaten_cells(frames) == {("m", "t", "low")}
    better = frames.evaluations.assign(last=0.9)
    assert guessing.unbeaten_cells(replace(frames, evaluations=better), "last") == set()
    assert guessing.unbeaten_cells(replace(frames, evaluations=better)) == {("m", "t", "low")}


def test_means_of_equal_numbers_are_not_above_by_rounding(decoders):
    assert guessing.unbeaten(study(decoders, dict.fromkeys(VALUES, 0.1), rate=0.1))


@pytest.fixture
def low(decoders):
    """A study of decoders in which nothing beats guessing."""
    return study(decoders, lows=dict.fromkeys(VALUES, 0.3))


def test_no_term_is_marked_as_the_best_where_nothing_beats_guessing(decoders, low):
    high = study(decoders, lows=dict.fromkeys(VALUES, 0.55))
    for frames, best in ((high, ["b_v"]), (low, [])):
        facts = metric_cells.facts(frames)
        assert facts.loc[facts["best"], "technique"].tolist() == best
        (part,) = table5(frames).parts
        rows = {row[0].text: row for row in part.rows}
        assert rows["b_v"][2].bold is rows["b_v"][-1].bold is bool(best)
        assert rows["b_q"][2].underlined is bool(best)
        said = "50.0" if best else "50.0 nothing beats it"
        assert list(rows)[-1] == "guessing" and plain(rows["guessing"][2]) == said
        assert any("so none is marked" in note for note in table5(frames).notes) is not bool(best)
        assert table5(frames).tidy[["guessing", "unbeaten"]].drop_duplicates().values.tolist() == [
            [0.5, not best]
        ]


def test_summary_page_and_metrics_say_that_nothing_beats_guessing(decoders, low):
    chosen = selection(low)
    table = selected_terms(chosen)
    columns = {str(c.header): [cell.plain for cell in c.cells] for c in table.columns}
    assert columns["best"] == ["v (nothing beats guessing)"]
    assert columns["metric"] == ["80.0 %"] and columns["guessing"] == ["50.0 %"]
    assert selection_table(low).parts[0].rows[0][2].problem == "nothing beats guessing"
    found = overview(low)
    assert (found["answer"]["decided"], found["answer"]["unbeaten"]) == (0, 1)
    assert found["answer"]["top"] == [] and found["board"][0]["cells"]["low"]["unbeaten"]
    (problem,) = [p for p in problems(low) if p["status"] == "nothing beats guessing"]
    assert problem["runs"] == 9 and problem["places"][0]["place"] == ("m", "t", "low", "")
    metrics = json.loads(dump(metrics_json(low)))
    assert metrics["guessing"] == {"m": {"t": {"low": 0.5}}}
    assert metrics["nothing_beats_guessing"] == 1


def test_cells_with_something_above_guessing_still_count(decoders):
    high = study(decoders, lows=dict.fromkeys(VALUES, 0.55))
    found = overview(high)["answer"]
    assert (found["decided"], found["unbeaten"], found["top"]) == (1, 0, ["v"])
    assert metrics_json(high)["nothing_beats_guessing"] == 0
    assert not [p for p in problems(high) if "guessing" in p["status"]]


def test_each_regime_and_column_of_encoders_stands_beside_guessing(frames):
    rates = {"sst2": 0.5, "mnli": 0.34, "stsb": 0.0}
    known = guessed(frames, rates)
    for part in table1(known).parts:
        rows = [row for row in part.rows if row[1].text == "guessing"]
        assert [row[0].text for row in rows] == ["low", "medium", "high"]
        assert [cell.text for cell in rows[0][2:]] == ["50.0", "34.0", "34.0", "0.0", "29.5"]
    order = [row[1].text for row in table1(known).parts[0].rows]
    assert order[:7] == ["b_q", "b_k", "b_v", "all_biases", "full", "untuned", "guessing"]
    (part,) = table4(known).parts
    assert [row[1].text for row in part.rows] == ["b_v", "b_q", "b_k", "guessing"] * 2
    (unknown, _) = table1(frames).parts
    assert "guessing" not in {row[1].text for row in unknown.rows}


def test_what_is_not_known_of_one_task_leaves_the_average_open(frames):
    known = guessed(frames, {"sst2": 0.5})
    row = next(row for row in table1(known).parts[0].rows if row[1].text == "guessing")
    assert [cell.text for cell in row[2:]] == ["50.0", "—", "—", "—", "—"]


def test_constant_runs_are_counted_in_their_cells_and_listed(decoders):
    made = study(decoders, {**VALUES, "untuned": 0.5}, rate=0.5)
    own = made.runs.set_index(["technique", "seed"])["digest"]
    constant = [own["b_q", 0], own["b_q", 2], own["untuned", 0]]
    known = guessed(made, {"t": 0.5}, constant)
    cell = grid.at(grid.cells(known), "m", "t", "low", "b_q", "validation")
    assert cell["problem"] == "2/3 constant" and cell["status"] == "ok" and cell["short"] == ""
    assert cell["reason"] == "2/3 constant: predicts the same for every example"
    others = grid.cells(known)
    assert set(others[others["technique"] != "b_q"]["problem"]) == {""}
    assert set(grid.cells(known, "last")["problem"]) == {""}  # of the best epoch alone
    (problem,) = [p for p in problems(known) if p["status"] == "constant predictions"]
    assert problem["runs"] == 2 and problem["places"][0]["seeds"] == "0, 2"


def test_both_columns_survive_the_csv_files(decoders, tmp_path):
    made = guessed(study(decoders), {"t": 0.25})
    write(made, tmp_path)
    found = read(tmp_path)
    assert (
        found.runs["constant"].tolist() == [False] * 9 and found.runs["constant"].dtype == "boolean"
    )
    assert guessing.rates(found) == {("m", "t", "low", "validation"): 0.25}
    missing = replace(made, runs=made.runs.assign(constant=None, guessing=None))
    write(missing, tmp_path)
    assert read(tmp_path).runs["constant"].isna().all()
    assert grid.cells(read(tmp_path))["problem"].eq("").all()


def test_odd_data_is_listed_under_problems(decoders):
    made = study(decoders, rate=float("nan"))
    odd = replace(made, settings={**made.settings, "odd_data": {"t": "train (3 rows): <b>"}})
    (problem,) = problems(odd)
    assert (problem["status"], problem["runs"]) == ("odd data", 9)
    assert problem["reason"] == "train (3 rows): <b>"


def test_reports_of_earlier_versions_know_nothing_of_guessing(decoders):
    made = study(decoders)
    old = replace(made, evaluations=made.evaluations.assign(guessing=pd.NA))
    assert guessing.rates(old) == {} and guessing.unbeaten(old) == set()
