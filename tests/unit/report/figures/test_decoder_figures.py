"""Figures for decoders: what is drawn where, and what the words say."""

import math
from dataclasses import replace

import pytest

from beft.report.figures import registry
from beft.report.figures.style import COLUMN, LOOKS, style
from beft.report.frames.schema import Frames


def draw(name: str, frames: Frames):
    with style():
        return registry.FIGURES[name](frames)


def words(figure) -> str:
    """Everything that a figure says outside its panels, and their titles."""
    said = [figure.get_supxlabel(), *(axes.get_title(loc="left") for axes in figure.axes)]
    return " ".join(" ".join(said).split())


def points(panel, technique: str) -> list[tuple[float, float]]:
    """The places of a technique's markers, told by its colour and marker."""
    look = LOOKS[technique]
    mine = [
        line for line in panel.lines
        if line.get_color() == look.colour and line.get_marker() == look.marker
    ]  # fmt: skip
    return [(float(x), float(y)) for line in mine for x, y in zip(*line.get_data(), strict=True)]


def test_an_inert_term_lies_on_zero_shot(table5_study: Frames) -> None:
    figure = draw("zero_shot", table5_study)
    still, rotary = figure.axes
    assert points(still, "b_k") == points(still, "zero_shot")
    assert points(still, "zero_shot")[0] == pytest.approx((53.5, 0))
    # conftest: seeds with 6 points and none above zero-shot
    assert points(rotary, "b_k")[0] == pytest.approx((56.5, 0))
    assert [label.get_text() for label in still.get_yticklabels()][:2] == ["sst2", "rte"]
    assert "softmax ignores" in words(figure) and "rotary" in words(figure)
    assert figure.get_size_inches()[0] == COLUMN


def test_inertness_is_what_the_scores_say(decoders) -> None:
    numbers = {
        (m, t, n): [0.5] for m in ("a", "b", "c") for t in "xy" for n in ("b_k", "zero_shot")
    }
    frames = decoders(numbers, inert=["a", "b"])
    scores = frames.scores.copy()
    scores.loc[(scores["model"] == "b"), "inert"] = False
    said = words(draw("zero_shot", replace(frames, scores=scores)))
    for expected in ("a: $b_k$ inert", "b: $b_k$ not inert", "c: inertness not measured"):
        assert expected in said
    scores.loc[(scores["task"] == "x") & (scores["term"] == "k"), "inert"] = True
    said = words(draw("zero_shot", replace(frames, scores=scores)))
    assert "b: $b_k$ inert in 1 of 2 tasks" in said


def test_missing_runs_are_named(decoders) -> None:
    numbers = {("opt", "t", "zero_shot"): ["missing"], ("opt", "t", "b_k"): ["diverged", 0.5]}
    figure = draw("zero_shot", decoders(numbers))
    assert "opt t zero_shot missing; opt t b_k 1/2 diverged" in words(figure)
    assert all(math.isnan(x) for x, _ in points(figure.axes[0], "zero_shot"))


def test_cost_axes(decoders) -> None:
    numbers = {("opt", "t", "b_v"): [0.8], ("opt", "t", "zero_shot"): [0.5]}
    frames = decoders(numbers)
    parameters, seconds = draw("cost", frames).axes
    # 49152 = 10 ** 4.6915; conftest: seconds are 10 + parameters / 5000
    assert points(parameters, "b_v") == [(pytest.approx(4.6915, abs=1e-4), pytest.approx(80))]
    assert points(seconds, "b_v")[0][0] == pytest.approx(math.log10(19.8304))
    ((zero, metric),) = points(parameters, "zero_shot")
    assert zero < 4 and metric == pytest.approx(50)
    ticks = dict(zip(parameters.get_xticks(), parameters.get_xticklabels(), strict=True))
    assert ticks[zero].get_text() == "0" and ticks[4].get_text() == "$10^{4}$"
    assert points(seconds, "zero_shot")[0][0] == pytest.approx(1)


def test_cost_averages_over_tasks_that_all_have(decoders) -> None:
    numbers = {("opt", "x", "b_v"): [0.8], ("opt", "y", "b_v"): [0.3], ("opt", "z", "b_v"): [0.1]}
    numbers |= {("opt", "x", "lora"): [0.6], ("opt", "y", "lora"): [0.4]}
    numbers |= {("opt", "z", "lora"): ["failed"], ("opt", "x", "full"): ["failed"]}
    figure = draw("cost", decoders(numbers))
    panel = figure.axes[0]
    assert points(panel, "b_v")[0][1] == pytest.approx(55)  # of x and y
    assert points(panel, "lora")[0][1] == pytest.approx(50)
    assert points(panel, "full") == []  # nothing of it is done: it takes no task from the others
    assert "opt: x, y." in words(figure)


def test_cost_without_a_task_in_common(decoders) -> None:
    figure = draw("cost", decoders({("opt", "x", "b_v"): [0.8], ("opt", "y", "lora"): [0.4]}))
    said = " ".join(text.get_text() for text in figure.axes[0].texts)
    assert "no task in which all have a result" in " ".join(said.split())


def test_cost_takes_each_models_first_regime(decoders) -> None:
    numbers = {("opt", "t", "b_v", "low"): [0.5], ("opt", "t", "b_v", "high"): [0.9]}
    assert points(draw("cost", decoders(numbers)).axes[0], "b_v")[0][1] == pytest.approx(50)


def test_every_technique_has_a_look_of_its_own() -> None:
    from beft.techniques import TECHNIQUES

    shown = [name for name in TECHNIQUES if name not in LOOKS]
    # biases other than q, k and v take a spare look
    assert all(name.startswith("b_") for name in shown)
    markers = [look.marker for name, look in LOOKS.items() if name != "untuned"]
    assert len(set(markers)) == len(markers)  # a marker without a line must do
