"""The figures of a study by name, what each shows in words, and how they are written."""

from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from beft.report.curves import curves
from beft.report.frames import Frames
from beft.report.layers import layers
from beft.report.ranks import figure1, figure4
from beft.report.style import render, style
from beft.store import write_file

FIGURES: dict[str, Callable[[Frames], Figure]] = {
    "figure1": figure1,
    "figure4": figure4,
    "layers": layers,
    "curves": curves,
}
CAPTIONS = {
    "figure1": "Importance rank of q, k and v among all bias terms for the three selectors, beside "
    "the metric of each term, over the data regimes; first task.",
    "figure4": "Importance rank of q, k and v among all bias terms for the three selectors, beside "
    "the metric of each term, over the data regimes; one row per task.",
    "layers": "Importance rank of every bias term in every layer, for each model and selector.",
    "curves": "Learning curves: the metric on the validation set after every epoch.",
}


def draw(name: str, frames: Frames) -> dict[str, bytes]:
    """Draw one figure: suffix (svg, png, pdf) -> the bytes of the file.

    A figure without data is drawn too, and says in words what is missing.
    """
    with style():
        return render(FIGURES[name](frames))


def write_figure(name: str, frames: Frames, folder: Path) -> list[Path]:
    """Write {name}.svg, {name}.png and {name}.pdf into a folder; return their paths."""
    paths = []
    for suffix, content in draw(name, frames).items():
        paths.append(folder / f"{name}.{suffix}")
        write_file(paths[-1], content)
    return paths
