"""Answers to a file of one's own: differences by draw, plans that are kept, nothing done twice."""

import json
from types import SimpleNamespace

import pytest

from benchmarks import measure, own, own_plans
from benchmarks.own_plans import Drawn

SOURCE = SimpleNamespace(task={"metric": "accuracy"}, validation=[0] * 9)
DRAWS = [Drawn("case", number, SOURCE, ("tune", "probe")) for number in range(3)]
VALUES = {"tune": [0.80, 0.78, 0.79], "probe": [0.75, 0.74, 0.76]}


@pytest.fixture
def answered(tmp_path, monkeypatch):
    """Where results go, and the draws and methods that were asked."""
    asked = []

    def answer(drawn, method, plan):
        asked.append((drawn.number, method, plan))
        value = VALUES[method][drawn.number]
        return {"value": value, "note": method, "seconds": 1.0 + drawn.number, "cpu_seconds": 2.0}

    monkeypatch.setattr(measure, "RESULTS", tmp_path)
    monkeypatch.setattr(own, "_answer", answer)
    monkeypatch.setattr(own, "plans", lambda draws: {"case 0 tune": {"minutes": 5}})
    return asked


def test_tune_is_compared_on_the_same_draws(answered):
    """Differences 5, 4 and 3 hundredths: deviation 1, t of two degrees of freedom 4.303."""
    tune, probe = own._measured(DRAWS)
    assert (tune["value"], tune["lowest"], tune["highest"]) == (0.79, 0.78, 0.80)
    assert tune["minus"] is None
    assert probe["minus"] == pytest.approx(0.04)
    assert probe["minus_high"] - probe["minus"] == pytest.approx(4.303 * 0.01 / 3**0.5, abs=1e-4)
    assert (probe["seconds"], probe["draws"], probe["test_rows"]) == (2.0, 3, 9)


def test_one_draw_has_no_interval(answered):
    probe = own._measured(DRAWS[:1])[1]
    assert probe["minus"] == pytest.approx(0.05) and probe["minus_low"] is None


def test_what_is_on_file_is_not_measured_again(answered, tmp_path):
    own._measured(DRAWS[:1])
    assert answered == [(0, "tune", {"minutes": 5}), (0, "probe", None)]
    own._measured(DRAWS[:2])
    assert [(number, method) for number, method, _ in answered[2:]] == [(1, "tune"), (1, "probe")]
    assert len(json.loads((tmp_path / "own.json").read_text())["answers"]) == 4


def test_plans_are_made_once_and_a_fifth_of_the_grids_time_is_one_per_case(tmp_path, monkeypatch):
    calls = []

    def called(module, *words):
        calls.append((module, words[1]))
        plan = {"plan": {"seconds": 9}}
        return {"seconds": 60.0} if module == "own_methods" else {"content": plan, "minutes": 1}

    monkeypatch.setattr(measure, "RESULTS", tmp_path)
    monkeypatch.setattr(own_plans, "_called", called)
    monkeypatch.setattr(own_plans.own_cases, "write", lambda source, folder: None)
    draws = [Drawn("case", number, SOURCE, ("tune", "probe", "tune_fifth")) for number in range(2)]
    found = own_plans.plans(draws)
    fifth = str(round(13 * 60.0 / 60 / 5, 2))
    of_draw = [("own_plans", "5.0"), ("own_plans", fifth)]
    assert calls == [of_draw[0], ("own_methods", "one_of_grid"), of_draw[1], *of_draw]
    assert own_plans.plans(draws) == found and len(calls) == 5
