"""Tables 5 and 6: decoders only, the paper's order, best and second best, trained shares."""

from dataclasses import replace

import pandas as pd
import pytest
from support.frames_of import frames_of

from beft.report.analysis import cells as grid
from beft.report.frames.schema import Frames
from beft.report.tables import formats, registry
from beft.report.tables.table import Part, Shown, Table


def row(table: Table, technique: str, part: int = 0) -> dict[str, Shown]:
    """One row of a part, by column."""
    columns, place = table.parts[part].columns, table.parts[part].leading - 1
    found = [r for r in table.parts[part].rows if r[place].text == technique]
    assert len(found) == 1
    return dict(zip(columns, found[0], strict=True))


def marks(table: Table, column: str) -> tuple[set[str], set[str]]:
    """Techniques in bold and techniques underlined in a column of the first part."""
    rows = {r[table.parts[0].leading - 1].text for r in table.parts[0].rows}
    shown = {name: row(table, name)[column] for name in rows}
    bold = {name for name, cell in shown.items() if cell.bold}
    return bold, {name for name, cell in shown.items() if cell.underlined}


@pytest.fixture(scope="module")
def table5(table5_study: Frames) -> Table:
    return registry.TABLES["table5"](table5_study)


def test_rows_are_in_the_papers_order_and_columns_in_the_studys(decoders) -> None:
    names = ("zero_shot", "all_biases", "untuned", "icl", "lora", "b_k", "b_v", "prefix", "b_q")
    tasks = ("squad", "sst2")
    table = registry.TABLES["table5"](
        decoders({("opt", t, n): [0.5] for t in tasks for n in names})
    )
    assert table.parts[0].columns == ("technique", "trained (%)", "squad", "sst2", "Avg.")
    shown = [cells[0].text for cells in table.parts[0].rows]
    # as the paper prints them; a measurement of gradients is no technique to compare
    assert shown == ["b_v", "b_q", "b_k", "lora", "prefix", "icl", "zero_shot", "all_biases"]


@pytest.mark.parametrize(
    ("column", "bold", "underlined"),
    [  # the emphasis of the paper's own Table 5, as it is printed there
        ("sst2", {"b_v"}, {"lora"}),
        ("cb", {"b_v", "prefix"}, {"b_q"}),
        ("wsc", {"b_v", "lora"}, {"b_q"}),
        ("record", {"b_v"}, {"b_q"}),
        ("Avg.", {"b_v"}, {"prefix"}),
    ],
)
def test_best_and_second_best(table5: Table, column: str, bold: set, underlined: set) -> None:
    assert marks(table5, column) == (bold, underlined)


def test_a_tie_for_second_is_shared_and_rounding_is_no_difference(decoders) -> None:
    numbers = {"b_v": [0.9], "lora": [0.1, 0.2, 0.3], "icl": [0.3, 0.2, 0.1], "b_q": [0.1]}
    table = registry.TABLES["table5"](decoders({("opt", "t", n): v for n, v in numbers.items()}))
    assert marks(table, "t") == ({"b_v"}, {"lora", "icl"})


def test_nothing_is_marked_while_a_technique_is_without_a_result(decoders) -> None:
    numbers = {("opt", "a", "b_v"): [0.9], ("opt", "b", "b_v"): [0.9]}
    numbers |= {("opt", "a", "lora"): ["diverged"], ("opt", "b", "lora"): [0.8]}
    table = registry.TABLES["table5"](decoders(numbers))
    assert marks(table, "a") == (set(), set()) == marks(table, "Avg.")
    assert marks(table, "b") == ({"b_v"}, {"lora"})
    assert row(table, "lora")["a"].problem == "1/1 diverged"
    assert row(table, "lora")["Avg."].problem == "a incomplete"


def test_a_cell_that_is_not_planned_says_so(decoders) -> None:
    numbers = {("opt", "a", "b_v"): [0.9], ("opt", "b", "b_v"): [0.9], ("opt", "a", "lora"): [0.8]}
    cells = row(registry.TABLES["table5"](decoders(numbers)), "lora")
    assert (cells["b"].problem, cells["Avg."].text) == ("not planned", "—")


def test_average_is_the_mean_of_the_columns(table5: Table) -> None:
    # 93.1 + 71.5 + 80.3 + 65.8 + 63.5 + 61.6 + 69.0 + 77.0 + 71.5 + 79.8 + 28.2 = 761.3
    assert row(table5, "b_v")["Avg."].text == "69.2"


@pytest.mark.parametrize(
    ("technique", "share"),
    # 49152, 1572864 and 491520 of 1,228,800,000 parameters
    [("b_v", "0.0040"), ("lora", "0.13"), ("prefix", "0.040"), ("icl", "0"), ("zero_shot", "0")],
)
def test_trained_share_has_two_digits(table5: Table, technique: str, share: str) -> None:
    assert row(table5, technique)["trained (%)"].text == share


def test_papers_numbers_stand_beside_ours(table5: Table) -> None:
    assert row(table5, "zero_shot")["squad"].paper == "paper 27.2, +0.0"
    assert row(table5, "b_k")["cb"].paper.startswith("paper 37.5, ")
    assert any(note.startswith("paper:") and "multirc" not in note for note in table5.notes)


def test_a_metric_that_may_not_be_the_papers_is_named(decoders) -> None:
    numbers = {("opt-1.3b", "multirc", "b_v"): [0.6]}
    table = registry.TABLES["table5"](decoders(numbers, metrics={"multirc": "f1"}))
    note = next(note for note in table.notes if note.startswith("paper:"))
    assert "multirc (F1 over its answers)" in note


def test_inert_terms_are_marked(table5: Table) -> None:
    assert row(table5, "b_k")["sst2"].marks == "°"
    assert any("tuning it changes nothing" in note for note in table5.notes)


def test_biases_that_were_added_divide_the_tables(table5_study: Frames) -> None:
    def models(name: str, *asked: str) -> list[str]:
        settings = {**table5_study.settings, "tables": list(asked)}
        table = registry.TABLES[name](replace(table5_study, settings=settings))
        return [part.caption for part in table.parts]

    assert models("table5", "table5") == ["opt-1.3b, low", "mini-rotary, low"]
    assert models("table5", "table5", "table6") == ["opt-1.3b, low"]
    assert models("table6", "table5", "table6") == ["mini-rotary, low"]
    assert models("table6", "table6") == ["mini-rotary, low"]


def test_a_model_without_any_run_is_shown_as_missing(decoders) -> None:
    numbers = {("rotary", "t", "b_v"): [0.5], ("later", "t", "b_v"): ["missing"]}
    frames = decoders(numbers, added=["rotary"], tables=["table6"])
    table = registry.TABLES["table6"](frames)
    assert [part.caption for part in table.parts] == ["rotary, low", "later, low"]
    assert row(table, "b_v", part=1)["t"].problem == "missing"
    assert row(table, "b_v", part=1)["trained (%)"].text == "—"


def test_encoders_and_decoders_have_tables_of_their_own(make, decoders) -> None:
    encoders = make(("bert-base-cased",), ("sst2",), ("low",))
    others = decoders({("opt", t, "b_v"): [0.5] for t in ("sst2", "squad")})
    both = {
        name: pd.concat([getattr(encoders, name), getattr(others, name)], ignore_index=True)
        for name in ("runs", "evaluations", "provenance", "problems", "scores", "history")
    } | {"intervals": encoders.intervals, "comparisons": encoders.comparisons}
    settings = {
        key: {**encoders.settings[key], **others.settings[key]} for key in ("models", "tasks")
    }
    frames = frames_of(**both, settings={**encoders.settings, **settings})
    first, fifth = registry.TABLES["table1"](frames), registry.TABLES["table5"](frames)
    assert [part.caption for part in first.parts] == ["bert-base-cased"]
    assert first.parts[0].columns == ("regime", "technique", "sst2", "Avg.")
    assert [part.caption for part in fifth.parts] == ["opt, low"]
    assert [cells[0].text for cells in fifth.parts[0].rows] == ["b_v"]
    assert formats.to_csv(first) == formats.to_csv(registry.TABLES["table1"](encoders))


def test_regimes_are_a_column_where_there_are_several(decoders) -> None:
    numbers = {("opt", "t", "b_v", "low"): [0.5], ("opt", "t", "b_v", "high"): [0.7]}
    numbers |= {("opt", "t", "lora", "low"): [0.6], ("opt", "t", "lora", "high"): [0.6]}
    part = registry.TABLES["table5"](decoders(numbers)).parts[0]
    assert (part.caption, part.leading) == ("opt", 2)
    shown = [(r[0].text, r[1].text, r[3].text, r[3].bold) for r in part.rows]
    assert shown == [
        ("low", "b_v", "50.0", False), ("low", "lora", "60.0", True),
        ("high", "b_v", "70.0", True), ("high", "lora", "60.0", False),
    ]  # fmt: skip


def test_only_the_metric_of_a_run_is_its_number(decoders) -> None:
    """squad reports F1; its exact match stands in evaluations.csv too, here even before it."""
    frames = decoders({("opt", "squad", "b_v"): [0.8, 0.6]}, metrics={"squad": "answer_f1"})
    other = frames.evaluations.assign(metric="exact_match", best=0.1, last=0.1)
    both = pd.concat([other, frames.evaluations], ignore_index=True)
    table = grid.cells(replace(frames, evaluations=both))
    assert table["mean"].tolist() == pytest.approx([0.7]) and table["n"].tolist() == [2]


@pytest.mark.parametrize(
    ("write_as", "wanted"),
    [
        (formats.to_markdown, "| x | **2.0** | <u>1.0</u> |"),
        (formats.to_latex, r"x & \textbf{2.0} & \underline{1.0} \\"),
    ],
)
def test_underlined_in_each_format(write_as, wanted: str) -> None:
    cells = (Shown("x", name=True), Shown("2.0", bold=True), Shown("1.0", underlined=True))
    part = Part("m", ("technique", "a", "b"), 1, (cells, cells))
    text = write_as(Table("t", "t", (), (part,), pd.DataFrame()))
    assert text.count(wanted) == 2
    # a row that is named by one column is no group of its own
    assert text.count(r"\midrule") <= 1


def test_csv_has_the_share_and_the_emphasis(table5: Table) -> None:
    lines = formats.to_csv(table5).splitlines()
    first = dict(zip(lines[0].split(","), lines[1].split(","), strict=True))
    assert (first["technique"], first["task"], first["trained_percent"]) == ("b_v", "sst2", "0.004")
    assert (first["best"], first["second"], first["paper"]) == ("true", "false", "93.1")


def test_cells_say_how_many_demonstrations_were_shown(decoders) -> None:
    """Two seeds each: every prompt has some, some prompts have none, no prompt has any."""
    shown = {"a": [(11.5, 4), (12.5, 3)], "b": [(2.5, 0), (4.0, 1)], "c": [(0.0, 0), (0.0, 0)]}
    numbers = {("opt", t, n): [0.5, 0.5] for t in "abcd" for n in ("icl", "zero_shot")}
    table = registry.TABLES["table5"](decoders(numbers, demonstrations=shown))
    icl = row(table, "icl")
    assert [icl[t].spread.partition(") ")[2] for t in "abcd"] == [
        *("12.0 shown (least 3)", "3.2 shown (least 0)", "0.0 shown (least 0)", ""),
    ]
    assert [icl[t].marks for t in "abcd"] == ["", "‡", "‡", ""]
    assert [icl[t].problem for t in "abcd"] == ["", "", "no demonstration fits", ""]
    assert icl["b"].reason == "no demonstration fits before some of its prompts"
    assert not any("shown" in cell.spread + cell.marks for cell in row(table, "zero_shot").values())
    assert sum(note.startswith(("shown:", "‡")) for note in table.notes) == 2
    tidy = table.tidy[table.tidy["technique"] == "icl"]
    assert tidy["demonstrations"].tolist()[:3] == [12.0, 3.25, 0.0]
    assert tidy["least_demonstrations"].tolist()[:3] == [3, 0, 0]
    assert "50.0**‡" in formats.to_markdown(table)
    assert r"$^{\ddagger}$" in formats.to_latex(table)


def test_without_in_context_learning_nothing_is_said_about_it(table5: Table) -> None:
    assert not any(note.startswith(("shown:", "‡")) for note in table5.notes)
