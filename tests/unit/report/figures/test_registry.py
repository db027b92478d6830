"""Figures: no text lies on another, gaps are explained, bytes depend on the data only."""

import io
import itertools
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from support import made_up_study

from beft.report.figures import registry
from beft.report.figures.style import FORMATS, LOOKS, look, style
from beft.report.frames.schema import Frames


def texts(name: str, frames: Frames, monkeypatch) -> tuple:
    """Every text that is really drawn, as (words, box, size in points), and the figure's size."""
    drawn: list[Text] = []
    original = Text.draw
    with style(), monkeypatch.context() as patch:
        figure = registry.FIGURES[name](frames)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()  # settles the layout
        patch.setattr(
            Text, "draw", lambda self, *a, **k: (drawn.append(self), original(self, *a, **k))[1]
        )
        canvas.draw()
        renderer = canvas.get_renderer()
        unique = {id(text): text for text in drawn if text.get_text().strip()}
        return [
            (text.get_text(), text.get_window_extent(renderer), text.get_fontsize())
            for text in unique.values()
        ], figure.bbox


def check(name: str, frames: Frames, monkeypatch) -> list[str]:
    """Hold all texts of a figure against each other, the sheet's edge and the smallest size."""
    found, sheet = texts(name, frames, monkeypatch)
    assert found
    for words, box, size in found:
        assert size >= 8, words
        inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= sheet.x1 + 1 and box.y1 <= sheet.y1 + 1
        assert inside, f"{words!r} runs over the edge"
    for (a, one, _), (b, two, _) in itertools.combinations(found, 2):
        wide = min(one.x1, two.x1) - max(one.x0, two.x0)
        high = min(one.y1, two.y1) - max(one.y0, two.y0)
        assert not (wide > 1 and high > 1), f"{a!r} lies on {b!r}"
    return [words for words, _, _ in found]


NAMES = list(registry.FIGURES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("study", ["full", "nothing"])
def test_files_are_those_of_savefig(name: str, study: str, request) -> None:
    """`render` draws once where `savefig` draws twice; nothing else may differ."""
    frames = request.getfixturevalue("table5_study" if study == "full" else study)
    if study == "full" and name not in ("zero_shot", "cost"):
        frames = made_up_study.study(("bert-base-cased",), ("sst2",), ("low", "high"))
    files = registry.draw(name, frames)
    with style():
        figure = registry.FIGURES[name](frames)
        for suffix, content in files.items():
            out = io.BytesIO()
            figure.savefig(out, format=suffix, **FORMATS[suffix])
            assert out.getvalue() == content, suffix


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("study", ["frames", "table5_study"])
def test_no_text_overlaps(name: str, study: str, request, monkeypatch) -> None:
    check(name, request.getfixturevalue(study), monkeypatch)


@pytest.mark.parametrize("name", ["zero_shot", "cost"])
def test_no_text_overlaps_with_every_technique_and_long_names(
    name: str, decoders, monkeypatch
) -> None:
    techniques = (*LOOKS, "a_technique_of_ones_own")
    models = ("a-model-with-a-name-that-hardly-ends-v2.5-instruct", "b")
    tasks = ("sentiment-of-movie-reviews-2024", "t")
    numbers = {
        (model, task, technique): [place / 20, "failed"] if place % 2 else [place / 20]
        for model, task in itertools.product(models, tasks)
        for place, technique in enumerate(techniques)
    }
    check(name, decoders(numbers, inert=models[:1]), monkeypatch)


@pytest.mark.parametrize("name", NAMES)
def test_no_text_overlaps_with_one_model_and_one_regime(name: str, make, monkeypatch) -> None:
    check(name, make(("bert-base-cased",), ("sst2",), ("low",)), monkeypatch)


@pytest.mark.parametrize("name", NAMES)
def test_no_text_overlaps_with_long_names(name: str, frames: Frames, monkeypatch) -> None:
    long = {"bert-base-cased": "a-model-with-a-name-that-hardly-ends-v2.5-instruct"}
    long |= {"sst2": "sentiment-of-movie-reviews-2024"}
    long |= {"full": "a_technique_of_ones_own", "output_norm": "output_layer_norm_bias_term"}
    tables = {key: getattr(frames, key).replace(long) for key in ("runs", "scores")}
    keys = ("models", "tasks")
    settings = {k: {long.get(n, n): v for n, v in frames.settings[k].items()} for k in keys}
    settings["regimes"] = [long.get(n, n) for n in frames.settings["regimes"]]
    settings["techniques"] = [long.get(n, n) for n in frames.settings["techniques"]]
    check(name, replace(frames, **tables, settings=settings), monkeypatch)


@pytest.mark.parametrize(
    ("name", "words"),
    [("figure1", "nothing was run"), ("figure4", "nothing was run"), ("layers", "No scores"),
     ("curves", "No learning curves"), ("zero_shot", "No decoder"), ("cost", "No result yet")],
)  # fmt: skip
def test_a_figure_without_data_says_so(name: str, words: str, nothing: Frames, monkeypatch) -> None:
    said = " ".join(" ".join(text.split()) for text in check(name, nothing, monkeypatch))
    assert words in said


def test_figure4_names_what_is_missing(frames: Frames, monkeypatch) -> None:
    said = " ".join(" ".join(check("figure4", frames, monkeypatch)).split())
    for words in ("mnli high b_v missing", "sst2 medium b_q 2/3 diverged", "hollow: inert"):
        assert words in said


def test_figure4_without_one_selector(frames: Frames, monkeypatch) -> None:
    scores = frames.scores[frames.scores["selector"] != "fisher"]
    assert "no fisher scores" in check("figure4", replace(frames, scores=scores), monkeypatch)


def test_figures_without_any_finished_run(frames: Frames, monkeypatch) -> None:
    runs = frames.runs.assign(status="missing", best=None, last=None)
    empty = {key: getattr(frames, key).iloc[:0] for key in ("evaluations", "history", "scores")}
    for name in NAMES:
        check(name, replace(frames, runs=runs, **empty), monkeypatch)


def test_first_rank_is_on_top(frames: Frames) -> None:
    with style():
        panels = registry.FIGURES["figure1"](frames).axes[:3]
    for panel in panels:
        bottom, top = panel.get_ylim()
        assert bottom > 8 and top < 1


def test_metric_panel_shows_the_means(frames: Frames) -> None:
    runs = frames.runs
    mine = runs[(runs["model"] == "bert-base-cased") & (runs["task"] == "sst2")]
    mine = mine[mine["technique"] == "b_v"].groupby("regime")["best"].mean()
    with style():
        panel = registry.FIGURES["figure1"](frames).axes[3]
    line = next(x for x in panel.lines if len(x.get_xdata()) == 3)
    expected = [100 * mine[regime] for regime in ("low", "medium", "high")]
    assert line.get_ydata() == pytest.approx(expected)


def test_figures_of_ranks_show_the_first_model_that_has_scores(make) -> None:
    frames = make(("bert-base-cased", "mini-rotary"), ("sst2",), ("low",))
    scores = frames.scores[frames.scores["model"] == "mini-rotary"]
    mine = frames.runs[
        (frames.runs["model"] == "mini-rotary") & (frames.runs["technique"] == "b_v")
    ]
    with style():
        figure = registry.FIGURES["figure1"](replace(frames, scores=scores))
    drawn = [line for line in figure.axes[3].lines if line.get_color() == LOOKS["b_v"].colour]
    assert drawn[0].get_ydata() == pytest.approx([100 * mine["best"].mean()])


def test_figures_of_ranks_show_the_tasks_of_their_model(make) -> None:
    """A task that only another model has must not take a row."""
    frames = make(("bert-base-cased", "mini-rotary"), ("stsb", "sst2"), ("low",))
    runs = frames.runs[
        (frames.runs["model"] != "bert-base-cased") | (frames.runs["task"] == "sst2")
    ]
    with style():
        figure = registry.FIGURES["figure4"](replace(frames, runs=runs))
    assert [axes.get_ylabel().split("\n")[0] for axes in figure.axes[::4]] == ["sst2"]


def test_what_trains_nothing_is_a_level(decoders, monkeypatch) -> None:
    numbers = {("opt", "sst2", name): [0.5] for name in ("zero_shot", "icl")}
    frames = decoders(numbers)
    history = frames.runs[["digest"]].assign(
        epoch=0, train_loss=float("nan"), split="validation", metric="accuracy", value=0.5
    )
    with style():
        panel = registry.FIGURES["curves"](replace(frames, history=history)).axes[0]
    levels = [line for line in panel.lines if list(line.get_xdata()) == [0, 1]]
    assert [list(line.get_ydata()) for line in levels] == [[50, 50], [50, 50]]


def test_undefined_scores_are_not_a_rank(frames: Frames) -> None:
    """conftest leaves projection undefined for one term in layer 2: one field of the first map."""
    with style():
        image = registry.FIGURES["layers"](frames).axes[0].images[0]
    assert image.get_array().mask.sum() == 1


def test_looks_differ_in_more_than_colour() -> None:
    assert len({one.colour for one in LOOKS.values()}) == len(LOOKS)
    assert len({(one.marker, str(one.line)) for one in LOOKS.values()}) == len(LOOKS)
    assert look("lora", ["lora", "prefix"]) != look("prefix", ["lora", "prefix"])
    assert look("a$b").label == r"a\$b"


@pytest.mark.parametrize("name", NAMES)
def test_same_bytes_each_time(name: str, make, tmp_path) -> None:
    small = make(("bert-base-cased",), ("sst2",), ("low", "high"))
    first = {p.name: p.read_bytes() for p in registry.write_figure(name, small, tmp_path)}
    assert first == {f"{name}.{s}": content for s, content in registry.draw(name, small).items()}
    assert first[f"{name}.png"].startswith(b"\x89PNG") and first[f"{name}.pdf"].startswith(b"%PDF")
    assert ElementTree.fromstring(first[f"{name}.svg"]).tag.endswith("svg")
    assert b"Date" not in first[f"{name}.pdf"] and b"<dc:date>" not in first[f"{name}.svg"]


def test_curves_of_a_large_study_say_what_is_left_out(make, monkeypatch) -> None:
    monkeypatch.setattr("beft.report.figures.curves.MOST", 2)
    found = check("curves", make(("bert-base-cased",), ("sst2",)), monkeypatch)
    assert any("Panels left out: 1" in words for words in found)


@pytest.mark.parametrize("name", NAMES)
def test_the_report_of_snakemake_has_the_page_s_caption(name):
    text = (Path(__file__).parents[4] / "workflow" / "report" / f"{name}.rst").read_text(
        encoding="utf-8"
    )
    assert " ".join(text.split()) == registry.CAPTIONS[name]
