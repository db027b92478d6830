"""Table 3: merged biases, by numbers that are worked out by hand."""

import pandas as pd
import pytest
from support.frames_of import frames_of
from support.measurements import WAYS, merged

from beft.report.frames.schema import frame
from beft.report.tables import formats
from beft.report.tables.table import Table
from beft.report.tables.table3 import table3

PAIR = ("sst2", "rte")
BERT = "bert-base-cased"


def table_of(rows: list[dict]) -> Table:
    return table3(frames_of({"study": "made up"}, merges=frame("merges", rows)))


def rows_of(model=BERT, pair=PAIR, regime="low", values=(0.5, 0.7), ways=WAYS) -> list[dict]:
    return [
        merged(model, regime, pair, seed, *way, task, value)
        for seed, value in enumerate(values)
        for task in pair
        for way in ways
    ]


def lines(table: Table) -> dict[tuple[str, str], dict]:
    (part,) = table.parts
    return {
        (r[0].text, r[1].text): dict(zip(part.columns[2:], r[2:], strict=True)) for r in part.rows
    }


def test_rows_say_which_bias_and_which_head():
    table = table_of(rows_of())
    assert list(lines(table)) == [
        ("pretrained", "untuned"),
        ("b_v of sst2", "each task's own"),
        ("b_v of sst2", "of sst2"),
        ("b_v of rte", "each task's own"),
        ("b_v of rte", "of rte"),
        ("mean of both b_v", "each task's own"),
    ]
    cell = lines(table)["mean of both b_v", "each task's own"]["rte"]
    assert (cell.text, cell.spread) == ("60.0", "± 14.1 (n=2/2)")
    assert any("does not say which it took" in note for note in table.notes)


def test_the_papers_numbers():
    """From its Table 3; ours is 60 everywhere."""
    found = lines(table_of(rows_of()))
    theirs = {
        ("pretrained", "untuned"): ("48.9, +11.1", "52.7, +7.3"),
        ("b_v of sst2", "each task's own"): ("85.8, -25.8", "46.2, +13.8"),
        ("b_v of rte", "of rte"): ("48.8, +11.2", "59.5, +0.5"),
        ("mean of both b_v", "each task's own"): ("81.3, -21.3", "55.5, +4.5"),
    }
    for key, (sst2, rte) in theirs.items():
        assert found[key]["sst2"].paper == f"paper {sst2}"
        assert found[key]["rte"].paper == f"paper {rte}"


@pytest.mark.parametrize(
    "other", [{"model": "m"}, {"pair": ("sst2", "cola")}, {"regime": "medium"}]
)
def test_the_papers_numbers_are_of_its_model_tasks_and_regime_alone(other):
    table = table_of(rows_of(**other))
    assert table.tidy["paper"].isna().all()
    assert not any("paper:" in note for note in table.notes)


def test_the_order_of_the_two_tasks_does_not_matter():
    one, other = (lines(table_of(rows_of(pair=pair))) for pair in (PAIR, PAIR[::-1]))
    for key, cells in one.items():
        assert {t: c.paper for t, c in cells.items()} == {t: c.paper for t, c in other[key].items()}


def test_runs_that_do_not_count_are_counted_and_named():
    rows = rows_of()
    bad = {"value": None, "status": "diverged", "reason": "loss not finite"}
    for row in rows:
        if row["seed"] == 1 and row["bias"] in ("second", "mean"):
            row |= bad
        if row["bias"] == "none":
            row |= {"value": None, "status": "missing", "reason": "not run yet"}
    rows[1] |= {"value": None}  # ok, and undefined: a correlation of constants
    found = lines(table_of(rows))
    cell = found["mean of both b_v", "each task's own"]["sst2"]
    assert (cell.text, cell.spread, cell.problem) == ("50.0", "(n=1/2)", "1/2 diverged")
    assert "loss not finite" in cell.reason
    assert found["pretrained", "untuned"]["rte"].text == "—"
    assert found["pretrained", "untuned"]["rte"].problem == "missing"
    assert found["b_v of sst2", "each task's own"]["sst2"].problem == "1/2 undefined"


def test_angles_are_means_over_the_seeds_that_have_both_biases():
    rows = rows_of()
    for row in rows:
        if row["seed"] == 1:
            row |= {"tuned_degrees": 80.0, "tuned_cosine": 0.25}
    notes = " ".join(table_of(rows).notes)
    assert "(n=2): 70.0 degrees (cosine 0.38) [paper: 79.5 degrees, cosine 0.18]" in notes
    assert "added to the pretrained ones: 90.0 degrees (cosine 0.00)" in notes
    for row in rows:
        row |= dict.fromkeys(
            ["tuned_cosine", "tuned_degrees", "shift_cosine", "shift_degrees"], None
        )
    assert any("not known yet" in note for note in table_of(rows).notes)


def test_one_seed_has_no_deviation():
    cell = lines(table_of(rows_of(values=(0.5,))))["pretrained", "untuned"]["sst2"]
    assert (cell.text, cell.spread) == ("50.0", "(n=1/1)")


def test_decoders_have_no_rows_of_other_heads():
    ways = [way for way in WAYS if way[0] != way[1]]
    table = table_of(rows_of(ways=ways))
    assert len(table.parts[0].rows) == 4
    assert not any("does not say which" in note for note in table.notes)


def test_hostile_names_are_only_text():
    table = table_of(rows_of(model="$x_y$", pair=("<script>", "a|b")))
    assert "<script" not in formats.to_latex(table) and r"\<script" in formats.to_markdown(table)


def test_numbers_survive_the_csv_file(tmp_path):
    from beft.report.frames import schema as F

    frames = frames_of({"study": "made up"}, merges=frame("merges", rows_of()))
    F.write(frames, tmp_path)
    pd.testing.assert_frame_equal(table3(F.read(tmp_path)).tidy, table3(frames).tidy)
