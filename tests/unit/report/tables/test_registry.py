"""Tables: what a cell shows, and that each format can be read and hides no trap."""

import csv
import io
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest

from beft.report.frames.schema import Frames
from beft.report.tables import formats, registry
from beft.report.tables.table import Part, Shown, Table


def row(table: Table, part: int, regime: str, technique: str) -> dict[str, Shown]:
    """One row of a part, by column."""
    grid = table.parts[part]
    found = [r for r in grid.rows if (r[0].text, r[1].text) == (regime, technique)]
    assert len(found) == 1
    return dict(zip(grid.columns, found[0], strict=True))


@pytest.fixture(scope="module")
def table1(frames: Frames) -> Table:
    return registry.table1(frames)


def test_columns_are_tasks_and_splits(table1: Table) -> None:
    assert [part.caption for part in table1.parts] == ["bert-base-cased", "mini-rotary"]
    columns = ("regime", "technique", "sst2", "mnli_matched", "mnli_mismatched", "stsb", "Avg.")
    assert table1.parts[0].columns == columns
    assert len(table1.parts[0].rows) == 3 * 6


def test_a_cell_says_all(frames: Frames, table1: Table) -> None:
    runs = frames.runs
    mine = runs[
        (runs["model"] == "bert-base-cased") & (runs["task"] == "sst2")
        & (runs["regime"] == "low") & (runs["technique"] == "b_v")
    ]["best"].tolist()  # fmt: skip
    mean = sum(mine) / 3
    deviation = (sum((x - mean) ** 2 for x in mine) / 2) ** 0.5
    cell = row(table1, 0, "low", "b_v")["sst2"]
    # 85.8 is the paper's Table 1 for BERT-base, SST-2, low, b_v; projection selects v in conftest
    # 4.303: Student's t for 2 degrees of freedom. The three runs alone give the interval, which
    # at this number of runs ends at the most extreme resamples: stretched, all minima or maxima
    stretch = 4.303 / 1.960 * 1.5**0.5
    low, high = (100 * (mean + stretch * (end - mean)) for end in (min(mine), max(mine)))
    expected = f"{100 * mean:.1f}† ± {100 * deviation:.1f} (n=3/3) {low:.1f} to {high:.1f} "
    expected += f"paper 85.8, {100 * mean - 85.8:+.1f}"
    assert formats.plain(cell) == expected
    assert cell.bold


@pytest.mark.parametrize(
    ("part", "regime", "technique", "column", "text", "problem"),
    [
        (0, "high", "b_v", "mnli_matched", "—", "missing"),
        (0, "low", "b_k", "stsb", "—", "skipped: inert"),
        (0, "medium", "b_q", "sst2", None, "2/3 diverged"),
        (1, "high", "full", "stsb", None, "1/3 failed"),
        (0, "low", "b_k", "Avg.", "—", "stsb incomplete"),
        (0, "high", "b_v", "Avg.", "—", "mnli_matched, mnli_mismatched incomplete"),
        (1, "high", "full", "Avg.", "—", "stsb incomplete"),
    ],
)
def test_gaps_say_why(table1, part, regime, technique, column, text, problem) -> None:
    cell = row(table1, part, regime, technique)[column]
    assert cell.problem == problem and cell.reason
    assert text is None or cell.text == text


def test_partial_cell_keeps_its_n_and_no_deviation(table1: Table) -> None:
    cell = row(table1, 0, "medium", "b_q")["sst2"]
    assert cell.spread == "(n=1/3)"


def test_average_is_over_all_columns(table1: Table) -> None:
    cells = row(table1, 1, "low", "full")
    facts = table1.tidy
    facts = facts[
        (facts["model"] == "mini-rotary") & (facts["regime"] == "low")
        & (facts["technique"] == "full")
    ]  # fmt: skip
    assert len(facts) == 4
    assert cells["Avg."].text == f"{100 * sum(facts['mean']) / 4:.1f}"


def test_nothing_is_best_while_a_term_is_missing(table1: Table) -> None:
    assert not any(row(table1, 0, "high", f"b_{t}")["mnli_matched"].bold for t in "qkv")
    # a term left out on purpose is no obstacle
    assert row(table1, 0, "low", "b_v")["stsb"].bold


def test_best_is_marked_among_the_terms_only(table1: Table) -> None:
    for part in table1.parts:
        bold = {r[1].text for r in part.rows for cell in r[2:] if cell.bold}
        assert bold <= {"b_q", "b_k", "b_v"}


def test_inert_terms_are_marked(table1: Table) -> None:
    assert row(table1, 0, "low", "b_k")["sst2"].marks == "°"
    assert row(table1, 1, "low", "b_k")["sst2"].marks == ""
    assert any("inert" in note for note in table1.notes)


def test_paper_numbers_need_the_same_model_and_metric(frames: Frames, table1: Table) -> None:
    assert not any(cell.paper for r in table1.parts[1].rows for cell in r)
    runs = frames.runs.assign(metric=frames.runs["metric"].replace("spearman", "pearson"))
    other = registry.table1(replace(frames, runs=runs))
    assert row(table1, 0, "low", "b_q")["stsb"].paper.startswith("paper 67.8, ")
    assert row(other, 0, "low", "b_q")["stsb"].paper == ""


def test_papers_average_stands_only_beside_the_papers_columns(make, table1: Table) -> None:
    assert row(table1, 0, "low", "b_q")["Avg."].paper == ""


def test_last_epoch_says_so(frames: Frames) -> None:
    best, last = registry.table1(frames), registry.table1_last(frames)
    assert "best epoch" in best.notes[0] and "optimistic" in best.notes[0]
    assert "last epoch" in last.notes[0] and "optimistic" not in last.notes[0]
    assert last.name == "table1_last"
    assert (last.tidy["mean"].dropna() <= best.tidy["mean"].dropna() + 1e-12).all()


def test_csv_is_long_and_exact(table1: Table) -> None:
    rows = list(csv.DictReader(io.StringIO(formats.to_csv(table1))))
    assert len(rows) == 2 * 3 * 6 * 4  # models, regimes, techniques, columns
    first = rows[0]
    assert first["model"] == "bert-base-cased" and first["paper"] == "80"
    assert float(first["mean"]) == pytest.approx(table1.tidy["mean"].iloc[0], abs=5e-7)
    skipped = next(r for r in rows if r["status"] == "skipped")
    assert skipped["mean"] == "" and "inert" in skipped["reason"]


@pytest.mark.parametrize("text", ["=1+1", "+1+1", "-x", "@x", "=cmd|' /C calc'!A0"])
def test_csv_text_is_no_formula(frames: Frames, text: str) -> None:
    table = replace(
        registry.selection(frames), tidy=registry.selection(frames).tidy.assign(reason=text)
    )
    rows = list(csv.DictReader(io.StringIO(formats.to_csv(table))))
    assert {r["reason"] for r in rows} == {f"'{text}"}


def test_selection_shows_choice_outcome_and_agreement(frames: Frames) -> None:
    table = registry.selection(frames)
    cells = row(table, 0, "sst2", "low")
    assert (cells["best term"].text, cells["inert"].text) == ("v", "k")
    assert cells["projection"].bold and not cells["magnitude"].bold
    open_cell = row(table, 0, "mnli", "high")
    assert open_cell["best term"].problem == "v without a result"
    assert not open_cell["projection"].bold


def one(text: str) -> Table:
    """A table whose every text is hostile."""
    cells = (Shown(text, name=True), Shown("1.0", "± 0.1", "[2.0]", "†", text, text, True))
    return Table("t", text, (text,), (Part(text, (text, text), 1, (cells, cells)),), None)


HOSTILE = r"a_b%c&d#e{f}g$h\i~j^k|l<m>n"


def test_latex_escapes_everything() -> None:
    text = formats.to_latex(one(HOSTILE))
    escaped = r"a\_b\%c\&d\#e\{f\}g\$h\textbackslash{}i\textasciitilde{}j"
    escaped += r"\textasciicircum{}k\textbar{}l\textless{}m\textgreater{}n"
    assert escaped in text
    assert "a_b" not in text and "%c" not in text.replace(r"\%c", "")


@pytest.fixture(scope="module")
def made(frames: Frames, table5_study: Frames) -> Callable[[str], Table]:
    """Every table of a study that has something to show in it."""

    @cache
    def make_table(name: str) -> Table:
        study = table5_study if name in ("table5", "table6") else frames
        return registry.TABLES[name](study)

    return make_table


@pytest.mark.parametrize("name", list(registry.TABLES))
def test_latex_structure(made: Callable[[str], Table], name: str) -> None:
    """Balanced braces and environments, and as many columns in each row as are declared."""
    table = made(name)
    text, parts = formats.to_latex(table), len(table.parts)
    assert parts
    bare = re.sub(r"\\[{}%&#_$]", "", text)
    assert bare.count("{") == bare.count("}")
    assert bare.count("$") % 2 == 0
    assert text.isascii()
    for word in ("table*", "tabular"):
        assert text.count(rf"\begin{{{word}}}") == text.count(rf"\end{{{word}}}") == parts
    for block in re.findall(r"\\begin\{tabular\}\{([lr]+)\}(.*?)\\end\{tabular\}", bare, re.S):
        shape, body = block
        for rule in (r"\toprule", r"\midrule", r"\bottomrule"):
            assert rule in body
        lines = [line for line in body.split("\n") if line.endswith(r"\\")]
        assert {line.count("&") for line in lines} == {len(shape) - 1}


def test_latex_sets_terms_as_mathematics(table1: Table) -> None:
    text = formats.to_latex(table1)
    assert "$b_v$" in text and r"all\_biases" in text
    assert r"\textbf{" in text and r"$^{\dagger}$" in text


@pytest.mark.parametrize("name", list(registry.TABLES))
def test_markdown_rows_are_whole(made: Callable[[str], Table], name: str) -> None:
    text = formats.to_markdown(made(name))
    blocks = re.findall(r"(?:^\|.*\n)+", text, re.M)
    assert blocks
    for block in blocks:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1


def test_markdown_escapes_pipes_and_html() -> None:
    text = formats.to_markdown(one("a|b<script>[x](javascript:y)"))
    assert r"a\|b\<script" in text and "](" not in text


def test_files_are_whole_and_the_same_each_time(frames: Frames, tmp_path) -> None:
    first = {p.name: p.read_bytes() for p in formats.write_table(registry.table1(frames), tmp_path)}
    again = {p.name: p.read_bytes() for p in formats.write_table(registry.table1(frames), tmp_path)}
    assert first == again and set(first) == {"table1.csv", "table1.md", "table1.tex"}
    assert {p.name for p in tmp_path.iterdir()} == set(first)


@pytest.mark.parametrize("name", list(registry.TABLES))
def test_a_study_without_runs_has_an_empty_table(nothing: Frames, name: str) -> None:
    table = registry.TABLES[name](nothing)
    assert table.parts == ()
    assert formats.to_csv(table).count("\n") == 1
    assert formats.to_markdown(table) and formats.to_latex(table)
