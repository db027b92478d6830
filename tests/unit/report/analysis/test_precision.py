"""Tables, page and comparisons mark runs whose precision differs."""

from dataclasses import replace

import pytest

from beft.report.analysis import cells as grid
from beft.report.analysis.precision import MOST
from beft.report.frames.schema import Frames
from beft.report.page.circumstances import problems
from beft.report.tables import comparisons, metric_cells
from beft.report.tables.formats import to_latex, to_markdown
from beft.report.tables.registry import made

PLACE = ("mini-rotary", "sst2", "low")


@pytest.fixture(scope="module")
def small(make) -> Frames:
    """One encoder, one task, one regime; every run is ok, in float32."""
    return make(PLACE[:1], PLACE[1:2], PLACE[2:])


def computed(frames: Frames, setting: str = "auto", **given: list[str | None]) -> Frames:
    """The same runs, of which these techniques had this precision, seed by seed."""
    origin = frames.provenance.set_index("digest")
    for technique, values in given.items():
        own = frames.runs.loc[frames.runs["technique"] == technique].sort_values("seed")["digest"]
        origin.loc[own, "precision"] = values
        origin.loc[own, "precision_setting"] = setting
    return replace(frames, provenance=origin.reset_index())


def shown(frames: Frames, technique: str = "b_v"):
    table = metric_cells.facts(frames)
    row = next(metric_cells.rows_of(table[table["technique"] == technique]))
    return row, metric_cells.cell(row)


def said(frames: Frames) -> list[tuple[str, str, int]]:
    return [(p["status"], p["reason"], p["runs"]) for p in problems(frames)]


def test_runs_of_equal_precision_are_not_marked(small):
    row, cell = shown(small)
    assert (row.precision, cell.problem, cell.reason) == ("float32", "", "")
    assert metric_cells.APART not in cell.marks
    assert said(small) == []
    assert not any("precision" in note for note in made("table1", small).notes)
    assert set(comparisons.judged(small)["precision"]) == {""}


def test_a_cell_whose_seeds_differ_is_marked_like_one_with_failed_runs(small):
    mixed = computed(small, b_v=["float32", "bfloat16", "float32"])
    row, cell = shown(mixed)
    words = "2 float32, 1 bfloat16"
    assert (row.status, row.n, row.precision) == ("ok", 3, words)
    assert (cell.problem, cell.reason) == (words, f"precision differs: {words}")
    assert said(mixed) == [("different precision", f"runs of one cell: {words}", 3)]
    (found,) = problems(mixed)
    assert [p["place"] for p in found["places"]] == [(*PLACE, "b_v")]
    table = made("table1", mixed)
    note = f"Different precision: b_v: {words} ({', '.join(PLACE)})."
    assert table.notes[-1] == note and words in to_markdown(table) and words in to_latex(table)
    against = comparisons.judged(mixed).set_index(["first", "second"])["precision"]
    assert {p for pair, p in against.items() if "b_v" not in pair} == {""}
    assert all("2 float32, 1 bfloat16" in p for pair, p in against.items() if "b_v" in pair)
    assert grid.cells(small).loc[(*PLACE, "b_v", "validation"), "mean"] == row.mean


def test_techniques_that_differ_are_marked_where_they_are_compared(small):
    unlike = computed(small, b_v=["bfloat16"] * 3)
    row, cell = shown(unlike)
    assert row.apart and cell.marks.endswith(metric_cells.APART) and cell.problem == ""
    assert not shown(unlike, "b_q")[0].apart
    (found,) = said(unlike)
    assert found[0] == "different precision" and "techniques" in found[1] and found[2] == 18
    table = made("table1", unlike)
    assert any(note.startswith(metric_cells.APART) for note in table.notes)
    assert r"$\neq$" in to_latex(table)
    assert table.notes[-1].startswith("Different precision: bfloat16: b_v; float32: ")
    against = comparisons.judged(unlike).set_index(["first", "second"])["precision"]
    order = {0: "bfloat16 against float32", 1: "float32 against bfloat16"}
    for pair, precision in against.items():
        assert precision == (order[pair.index("b_v")] if "b_v" in pair else ""), pair


def test_a_difference_that_settings_name_is_marked_and_no_problem(small):
    asked = computed(small, "bfloat16", b_v=["bfloat16"] * 3)
    assert shown(asked)[0].apart and said(asked) == []
    assert "Different precision" in made("table1", asked).notes[-1]


def test_runs_without_the_record_are_told_once_and_not_marked(small):
    old = computed(small, b_v=[None, None, None], b_q=[None, "float32", "float32"])
    row, cell = shown(old)
    assert (row.precision, row.apart, cell.problem) == ("", False, "")
    assert shown(old, "b_q")[0].precision == "float32"
    assert said(old) == [("unknown precision", "these runs do not record their precision", 4)]
    assert not any("precision" in note for note in made("table1", old).notes)


@pytest.mark.parametrize("name", ["table1", "comparisons", "selection", "selectors", "ranks"])
def test_every_table_of_the_place_says_it(small, name):
    mixed = computed(small, all_biases=["float32", "bfloat16", "float32"])
    words = "all_biases: 2 float32, 1 bfloat16"
    assert any(words in note for note in made(name, mixed).notes)


def test_a_table_says_nothing_of_other_places(small, make):
    both = make(("bert-base-cased", *PLACE[:1]), PLACE[1:2], PLACE[2:])
    origin = both.provenance.merge(both.runs[["digest", "model", "technique"]], on="digest")
    origin.loc[(origin["model"] == PLACE[0]) & (origin["technique"] == "b_v"), "precision"] = (
        "bfloat16"
    )
    mixed = replace(both, provenance=origin)
    assert "Different precision" in made("table1", mixed).notes[-1]
    assert not any(
        "Different" in n for n in made("table1", grid.of_models(mixed, ["bert-base-cased"])).notes
    )


def test_many_cases_are_cut(small):
    """One note for each of some; the csv files have all."""
    techniques = ("b_q", "b_k", "b_v", "all_biases", "full", "untuned")
    mixed = computed(small, **dict.fromkeys(techniques, ["float32", "bfloat16", "float32"]))
    notes = [n for n in made("table1", mixed).notes if n.startswith("Different precision")]
    assert len(notes) == MOST + 1 and notes[-1].startswith("Different precision: 1 more case")
