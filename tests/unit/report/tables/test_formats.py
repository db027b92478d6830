"""Tables as CSV, Markdown and LaTeX: whatever a name contains, a reader gets it back."""

import csv
import io
import re

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from beft.report.tables.formats import LATEX, tex, to_csv, to_latex, to_markdown
from beft.report.tables.table import Part, Table, name

LAWS = settings(max_examples=50, derandomize=True, deadline=None)
SIGNS = st.sampled_from([*LATEX, *"`*|[]()!-=+@'\",\n\t abc019"])
WORDS = st.lists(SIGNS, max_size=12).map("".join)


def table(rows: list[tuple[str, str]]) -> Table:
    grid = tuple((name(first), name(second)) for first, second in rows)
    part = Part("part", ("first", "second"), 1, grid)
    return Table("made_up", "title", (), (part,), pd.DataFrame(rows, columns=["first", "second"]))


def one_line(text: str) -> str:
    return " ".join(text.split())


@LAWS
@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=4))
def test_csv_holds_every_text_and_no_formula(rows):
    found = list(csv.reader(io.StringIO(to_csv(table(rows)))))[1:]
    assert [[cell.removeprefix("'") for cell in row] for row in found] == [
        [one_line(cell).removeprefix("'") for cell in row] for row in rows
    ]
    assert not any(cell.startswith(("=", "+", "-", "@")) for row in found for cell in row)


@LAWS
@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=4))
def test_markdown_keeps_the_grid_and_every_text(rows):
    lines = [line for line in to_markdown(table(rows)).split("\n") if line.startswith("| ")]
    cells = [re.split(r" (?<!\\)\| ?", line[2:])[:-1] for line in lines[2:]]
    plain = [[re.sub(r"\\([\\|*`<~_\]])", r"\1", cell) for cell in row] for row in cells]
    assert plain == [[one_line(cell) for cell in row] for row in rows]


@LAWS
@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=4))
def test_latex_has_a_column_for_each_cell(rows):
    body = to_latex(table(rows)).split("\\midrule\n")[1].split("\\bottomrule")[0]
    lines = body.strip().split("\n")
    assert len(lines) == len(rows)
    assert all(len(re.findall(r"(?<!\\)&", line)) == 1 for line in lines)


@LAWS
@given(WORDS)
def test_latex_escapes_each_sign_alone(text):
    assert tex(text) == "".join(LATEX.get(sign, sign) for sign in one_line(text))
    bare = re.sub(r"\\[a-z]+\{\}|\$\\?[a-z^{}\\]+\$|\\[&%$#_{}]", "", tex(text))
    assert not set(bare) & set("\\&%$#_{}~^<>|")
