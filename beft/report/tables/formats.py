"""Tables as CSV, Markdown and LaTeX, each file written whole or not at all."""

import csv
import io
import re
from pathlib import Path

import pandas as pd

from beft.errors import one_line
from beft.report.spreadsheet import guarded
from beft.report.tables.table import Part, Shown, Table
from beft.store.files import write_file

LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "±": r"$\pm$", "≠": r"$\neq$",
    "†": r"$^{\dagger}$", "‡": r"$^{\ddagger}$", "°": r"$^{\circ}$",
    "—": "---", "–": "--", "·": r"$\cdot$",
}  # fmt: skip
TERMS = {f"b_{term}": rf"$b_{term}$" for term in "qkv"}
# narrower than the line: natural width; wider: shrunk to fit
FIT = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"


def write_table(table: Table, folder: Path) -> list[Path]:
    """Write {name}.csv, {name}.md and {name}.tex into a folder; return their paths."""
    paths = []
    for suffix, render in WRITERS.items():
        paths.append(folder / f"{table.name}{suffix}")
        write_file(paths[-1], render(table).encode())
    return paths


def to_csv(table: Table) -> str:
    """The long form: numbers with six digits, undefined ones empty, text that no program runs."""
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(table.tidy.columns)
    for row in table.tidy.itertuples(index=False, name=None):
        rows.writerow([_csv_cell(value) for value in row])
    return out.getvalue()


def _csv_cell(value: object) -> str:
    if value is None or value is pd.NA or value != value:
        return ""
    if isinstance(value, str):
        return str(guarded(one_line(value)))
    if isinstance(value, bool) or type(value).__name__ == "bool":
        return str(bool(value)).lower()
    return f"{value:.6f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def plain(cell: Shown) -> str:
    """A cell in a line: `85.1† ± 0.4 (n=3/3) 83.9 to 86.2 paper 85.8, -0.7`, without emphasis."""
    pieces = [cell.text + cell.marks, cell.spread, cell.interval, cell.paper]
    if cell.problem:
        pieces.append(cell.problem)
    return " ".join(piece for piece in pieces if piece)


def to_markdown(table: Table) -> str:
    """A pipe table per part, with title and notes."""
    lines = [f"# {_md(table.title)}", ""]
    for part in table.parts:
        lines += [f"## {_md(part.caption)}", "", *_md_grid(part), ""]
    lines += [f"- {_md(note)}" for note in table.notes]
    return "\n".join(lines).rstrip() + "\n"


def _md_grid(part: Part) -> list[str]:
    lead, rest = part.leading, len(part.columns) - part.leading
    rows = [[_md(column) for column in part.columns], ["---"] * lead + ["---:"] * rest]
    for row in part.rows:
        rows.append([_md_cell(cell) for cell in row])
    return [f"| {' | '.join(row)} |" for row in rows]


def _md_cell(cell: Shown) -> str:
    text = _md(plain(cell))
    value = _md(cell.text)
    shown = f"**{value}**" if cell.bold else value
    return (f"<u>{shown}</u>" if cell.underlined else shown) + text.removeprefix(value)


def _md(text: str) -> str:
    text = one_line(text)
    text = re.sub(r"([\\|*`<~])", r"\\\1", text).replace("](", r"]\(")
    # inside a word an underscore is only an underscore
    return re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", text)


def to_latex(table: Table) -> str:
    """One booktabs table environment per part; needs the packages booktabs and graphicx."""
    blocks = [_tex_part(table, part) for part in table.parts]
    return "% \\usepackage{booktabs,graphicx}\n" + "\n".join(blocks)


def _tex_part(table: Table, part: Part) -> str:
    rows = [[_tex_cell(cell) for cell in row] for row in part.rows]
    frame = pd.DataFrame(rows, columns=[tex(column) for column in part.columns])
    starts = [row[0].text for row in part.rows] if part.leading > 1 else []
    shape = "l" * part.leading + "r" * (len(part.columns) - part.leading)
    tabular = frame.style.hide(axis="index").to_latex(hrules=True, column_format=shape)
    caption = f"{tex(table.title)} ({tex(part.caption)}). {' '.join(map(tex, table.notes))}"
    lines = [r"\begin{table*}", r"\centering\small", rf"\caption{{{caption}}}", FIT]
    lines += [_tex_groups(tabular, starts) + "}", r"\end{table*}", ""]
    return "\n".join(lines)


def _tex_groups(tabular: str, starts: list[str]) -> str:
    """Rule off each group of rows that share their first name, and print that name once."""
    lines, index = [], -3  # \begin{tabular}, \toprule, header, \midrule come before row 0
    for line in tabular.rstrip("\n").split("\n"):
        index += 1
        row = index - 2
        if 0 < row < len(starts):
            if starts[row] == starts[row - 1]:
                line = line[line.index(" & ") :].lstrip()
            else:
                lines.append(r"\midrule")
        lines.append(line)
    return "\n".join(lines)


def _tex_cell(cell: Shown) -> str:
    if cell.name:
        return TERMS.get(cell.text, tex(cell.text))
    text = rf"\textbf{{{tex(cell.text)}}}" if cell.bold else tex(cell.text)
    text = rf"\underline{{{text}}}" if cell.underlined else text
    small = " ".join(piece for piece in (cell.spread, cell.interval, cell.problem) if piece)
    pieces = [
        text + tex(cell.marks),
        rf"{{\scriptsize {tex(small)}}}" if small else "",
        tex(cell.paper),
    ]
    return " ".join(piece for piece in pieces if piece)


def tex(text: str) -> str:
    """Escape text for LaTeX, and set the signs that tables use."""
    return "".join(LATEX.get(sign, sign) for sign in one_line(text))


WRITERS = {".csv": to_csv, ".md": to_markdown, ".tex": to_latex}
