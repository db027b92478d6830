"""The figures of a study by name, what each shows in words, and how they are written."""

from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from beft.report.figures import extension, selectors, settled
from beft.report.figures.cost import cost
from beft.report.figures.curves import curves
from beft.report.figures.importance import figure1, figure4
from beft.report.figures.layers import layers
from beft.report.figures.style import render, style
from beft.report.figures.zero_shot import zero_shot
from beft.report.frames.schema import Frames
from beft.store.files import write_file

FIGURES: dict[str, Callable[[Frames], Figure]] = {
    "figure1": figure1,
    "figure4": figure4,
    "layers": layers,
    "curves": curves,
    "extension": extension.draw,
    "selectors": selectors.draw,
    "settled": settled.draw,
    "zero_shot": zero_shot,
    "cost": cost,
}
NARROW = ("zero_shot", "cost", "settled")  # as wide as a column of a page, not as its text
CAPTIONS = {
    "figure1": "Importance rank of q, k and v among all bias terms for the three selectors, beside "
    "the metric of each term, over the data regimes; first task.",
    "figure4": "Importance rank of q, k and v among all bias terms for the three selectors, beside "
    "the metric of each term, over the data regimes; one row per task.",
    "layers": "Importance rank of every bias term in every layer, for each model and selector.",
    "curves": "Learning curves: the metric on the validation set after every epoch.",
    "extension": "The metric of each bias term beside its score by the projection selector after "
    "every epoch, for each learning rate.",
    "selectors": "How good each selector is: how often its choice was the best term, and how many "
    "points its choice gave away, with bootstrap intervals.",
    "settled": "The share of training after which the choice of each selector no longer changes.",
    "zero_shot": "Zero-shot, b_k and b_v for every decoder and task: where b_k is inert, tuning it "
    "changes nothing and its marker lies inside that of zero-shot.",
    "cost": "The metric of every technique against the number of parameters that it trains and the "
    "seconds that a run takes, for each model.",
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
