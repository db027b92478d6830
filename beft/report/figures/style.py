"""How every figure looks: one palette, one type size, bytes that depend on the data only."""

import io
import math
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import matplotlib
import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backend_bases import get_registered_canvas_class
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.typing import LineStyleType

WIDTH = 7.2  # inches: the text width of a two-column page
COLUMN = 3.5  # inches: one of its columns
FORMATS: dict[str, dict] = {
    "svg": {"metadata": {"Date": None, "Creator": None}},
    "png": {"metadata": {"Software": None}, "dpi": 200},
    "pdf": {"metadata": {"CreationDate": None, "Creator": None, "Producer": None}},
}
RULES = {
    # fonts that matplotlib itself carries, so that figures are the same on every machine
    "font.family": "STIXGeneral",
    "mathtext.fontset": "stix",
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.labelsize": 9.5,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9.5,
    "axes.linewidth": 0.6,
    "axes.edgecolor": "#444444",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "xtick.color": "#333333",
    "ytick.color": "#333333",
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.4,
    "lines.markersize": 5,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.hashsalt": "beft",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
    "path.simplify": True,
}


@dataclass(frozen=True)
class Look:
    """Colour, marker and line of one technique; all three differ, so grey prints stay readable."""

    colour: str
    marker: str
    line: LineStyleType
    label: str


# the palette of Okabe and Ito, then of Tol (muted): told apart with every kind of colour vision
LOOKS = {
    "b_v": Look("#D55E00", "o", "-", "$b_v$"),
    "b_q": Look("#0072B2", "s", (0, (5, 1.6)), "$b_q$"),
    "b_k": Look("#009E73", "^", (0, (1.2, 1.2)), "$b_k$"),
    "all_biases": Look("#CC79A7", "D", (0, (5, 1.4, 1.2, 1.4)), "all biases"),
    "full": Look("#000000", "X", "-", "full"),
    "random_uniform": Look("#E69F00", "P", (0, (3, 1.2)), "random"),
    "linear_probe": Look("#44AA99", "|", (0, (6, 1.2, 1.2, 1.2)), "linear probe"),
    "head_only": Look("#56B4E9", "v", (0, (6, 1.2, 1.2, 1.2, 1.2, 1.2)), "head only"),
    "untuned": Look("#777777", "", (0, (1, 2.2)), "untuned"),
    "lora": Look("#882255", "<", (0, (8, 1.4)), "LoRA"),
    "lora_q": Look("#332288", ">", (0, (8, 1.4, 1.2, 1.4)), "LoRA $q$"),
    "lora_k": Look("#117733", "p", (0, (8, 1.4, 1.2, 1.4, 1.2, 1.4)), "LoRA $k$"),
    "lora_v": Look("#CC6677", "h", (0, (8, 1.4, 3, 1.4)), "LoRA $v$"),
    "prefix": Look("#999933", "*", (0, (2.5, 1.2)), "prefix"),
    "icl": Look("#AA4499", "d", (0, (2.5, 1.2, 1.2, 1.2)), "ICL"),
    "zero_shot": Look("#444444", "H", (0, (1.2, 2.4)), "zero-shot"),
}
SPARE = ("#8B5E3C", "#5D3A9B", "#4B6F44", "#9A0F4B", "#3A5F7D", "#7A7A00")


def look(technique: str, others: list[str] | None = None) -> Look:
    """The look of a technique; those without one of their own take spares, in the order given."""
    if technique in LOOKS:
        return LOOKS[technique]
    spare = [name for name in others or [technique] if name not in LOOKS]
    place = spare.index(technique) if technique in spare else 0
    marker = "8x+123"[place % 6]
    return Look(SPARE[place % len(SPARE)], marker, (0, (4, 1.2, 1, 1.2)), literal(technique))


def literal(text: str, width: int = 40) -> str:
    """A name as text: a dollar sign must not start mathematics, and it must not run on for ever."""
    short = text if len(text) <= width else f"{text[: width - 1]}…"
    return short.replace("$", r"\$")


@contextmanager
def style() -> Iterator[None]:
    """Draw with the common rules, independent of the user's own matplotlib settings."""
    with matplotlib.style.context("default"), matplotlib.rc_context(RULES):  # type: ignore[arg-type]  # names of settings are literals
        yield


def sheet(
    rows: int, columns: int, height: float, width: float = WIDTH, **options
) -> tuple[Figure, np.ndarray]:
    """A figure with a grid of panels, shape (rows, columns); options are those of `subplots`."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def explain(axes: Axes, words: str) -> None:
    """Say in an otherwise empty panel what is missing."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_linestyle((0, (2, 2)))
        spine.set_color("#aaaaaa")
    figure, grid = axes.get_figure(root=True), axes.get_gridspec()
    assert figure is not None and grid is not None
    width = figure.get_size_inches()[0] / max(grid.ncols, 1)
    text = "\n".join(textwrap.wrap(literal(words, 200), max(12, int(width * 11))))
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color="#555555")


def footnote(figure: Figure, lines: list[str]) -> None:
    """Notes under a figure, wrapped to its width."""
    width = int(figure.get_size_inches()[0] * 19)
    wrapped = [part for line in lines for part in textwrap.wrap(literal(line, 1000), width)]
    if wrapped:
        label = "\n".join(wrapped)
        figure.supxlabel(label, fontsize=8.5, x=0.01, ha="left", color="#444444", linespacing=1.2)


def handle(technique: str, others: list[str] | None = None, line: bool = True) -> Line2D:
    """The entry of a technique in a legend, with or without its line."""
    style = look(technique, others)
    entry = Line2D([], [], color=style.colour, marker=style.marker)
    entry.set_linestyle(style.line if line else "")
    entry.set_label(style.label)
    return entry


def legend_of_markers(figure: Figure, names: list[str]) -> list[Line2D]:
    """A legend above a figure of one column's width, for markers without lines; its entries.

    It takes `legend_rows` rows of 0.2 inches.
    """
    handles = [handle(name, names, line=False) for name in names]
    for name, entry in zip(names, handles, strict=True):
        if name not in LOOKS:
            entry.set_label(literal(name, 18))
    legend = figure.legend(
        handles=handles,
        loc="outside upper center",
        ncols=math.ceil(len(names) / legend_rows(names)),
        handlelength=1.0,
        handletextpad=0.5,
        columnspacing=1.4,
    )
    return [entry for entry in legend.legend_handles if isinstance(entry, Line2D)]


def legend_rows(names: list[str]) -> int:
    """The rows of `legend_of_markers`: three names fit beside each other, or two long ones."""
    return math.ceil(len(names) / (3 if all(name in LOOKS for name in names) else 2))


def incomplete(cells: list[str]) -> list[str]:
    """A note on cells without all of their runs; none where there is no such cell."""
    if len(cells) > 3:
        return [f"Not complete: {len(cells)} cells; the tables say why."]
    return [f"Not complete: {'; '.join(cells)}."] if cells else []


def blank(words: str, width: float = WIDTH) -> Figure:
    """A figure that says why there is nothing to draw."""
    figure, axes = sheet(1, 1, 1.4, width)
    explain(axes[0, 0], words)
    return figure


def render(figure: Figure) -> dict[str, bytes]:
    """The figure as SVG, PNG and PDF, the same bytes each time."""
    return {suffix: _render(figure, suffix, **options) for suffix, options in FORMATS.items()}


def _render(figure: Figure, suffix: str, metadata: dict, dpi: float | None = None) -> bytes:
    """The figure in one format: what `savefig` does, but it draws all twice to arrange panels."""
    engine, own = figure.get_layout_engine(), figure.dpi
    canvas, out = get_registered_canvas_class(suffix)(figure), io.BytesIO()
    assert engine is not None
    figure.dpi = dpi or own
    engine.execute(figure)  # for each format anew, since each measures text in its own way
    figure.set_layout_engine("none")
    figure.dpi = dpi or own  # vector formats leave another one
    getattr(canvas, f"print_{suffix}")(out, metadata=metadata)
    figure.dpi = own
    figure.set_layout_engine(engine)
    return out.getvalue()
