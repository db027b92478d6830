"""Work by hand, rates that made-up runs have, and what is assumed where there are none."""

import json
from dataclasses import replace

import pytest
from support import sandbox
from support.estimates import PARAMS, STUDY, finish

from beft.operations import cost
from beft.operations.cost import Costs, Done, fit
from beft.operations.sizes import Extent, Shape
from beft.study.project import load

MODEL = Shape(parameters=1500, inner=1000, layers=2, width=10)
TASK = Extent(train=80, validation=30, text=10, evaluated=20, prompt=40, answers=6)


@pytest.fixture
def project(tmp_path):
    sandbox.write(tmp_path / "params.yaml", PARAMS)
    sandbox.write(tmp_path / "studies" / "mini.yaml", STUDY)
    return load(tmp_path / "params.yaml")


# (model, task, regime, technique) -> FLOP per inner parameter: 4 (bias and adapter runs) or 6 times
# the tokens that are trained on, 2 times those that are scored after each of 3 epochs.
WORK = {
    ("m", "sst2", "low", "b_v"): 4 * 3 * 50 * 10 + 2 * 3 * 30 * 20,
    ("m", "sst2", "all", "b_v"): 4 * 3 * 80 * 10 + 2 * 3 * 30 * 20,
    # padded batches: twice the tokens
    ("m", "sst2", "low", "full"): 2 * (6 * 3 * 50 * 10 + 2 * 3 * 30 * 20),
    # gradients of the training rows once, one evaluation
    ("m", "sst2", "low", "untuned"): 4 * 50 * 10 + 2 * 30 * 20,
    # prompt and candidates, 25 of the 30 rows evaluated
    ("d", "sst2", "low", "b_v"): 4 * 3 * 50 * 46 + 2 * 3 * 25 * 46,
    ("d", "sst2", "low", "lora"): 4 * 3 * 50 * 46 + 2 * 3 * 25 * 46,
    # as many demonstrations as fit into 300 tokens, nothing trained
    ("d", "sst2", "low", "icl"): 2 * 25 * 306,
    # the right answer alone in training; 7 new tokens for each answer
    ("d", "squad", "low", "b_v"): 4 * 3 * 50 * 40 + 2 * 3 * 25 * (46 + 7),
}


@pytest.mark.parametrize("key", WORK, ids="-".join)
def test_work_is_what_counting_by_hand_gives(project, key):
    model, task, regime, technique = key
    place = (f"{model}/{task}/{regime}", technique)
    recipe = next(r for r in project.recipes if (r.cell(), r.technique) == place)
    assert cost.work(recipe, MODEL, TASK) == 1000 * WORK[key]


def test_a_fitted_head_costs_a_pass_over_the_training_rows_before_each_evaluation(project):
    plain = next(r for r in project.recipes if r.technique == "b_v" and r.regime == "low")
    fitted = replace(plain, training=plain.training | {"head": "fitted"})
    more = cost.work(fitted, MODEL, TASK) - cost.work(plain, MODEL, TASK)
    assert more == 1000 * 2 * 3 * 50 * 10


def made_up(works, fixed, rates, noise=None):
    noise = noise or [1] * len(works)
    return [
        Done(None, "machine", True, p, w, (fixed + w / rates[p]) * n, 0)
        for (p, w), n in zip(works, noise, strict=True)
    ]


WORKS = [(p, w * 1e12) for w in (1, 3, 10, 40) for p in ("float32", "bfloat16")]


def test_a_known_rate_is_recovered():
    rates = {"float32": 5e12, "bfloat16": 40e12}
    found = fit(made_up(WORKS, 2.0, rates))
    assert found.fixed == pytest.approx(2.0, rel=1e-6)
    assert found.rates == pytest.approx(rates, rel=1e-6)
    assert (found.runs, found.error) == (8, pytest.approx(0, abs=1e-6))
    assert found.seconds(20e12, "bfloat16") == pytest.approx(2.5)


def test_noise_shows_as_the_typical_error():
    rates = {"float32": 5e12, "bfloat16": 40e12}
    found = fit(made_up(WORKS, 0.1, rates, [0.9, 0.9, 1.1, 1.1, 1.1, 1.1, 0.9, 0.9]))
    assert found.rates == pytest.approx(rates, rel=0.2)
    assert 0.05 < found.error < 0.15


def test_runs_that_are_all_alike_give_a_rate_too():
    found = fit(made_up([("float32", 6e12)] * 3, 0, {"float32": 2e12}))
    assert found.seconds(12e12, "float32") == pytest.approx(6)
    # nobody ran in bfloat16: what is known is taken for it
    assert found.seconds(12e12, "bfloat16") == pytest.approx(6)


def test_a_study_is_estimated_by_its_done_runs(project):
    """Of the first seeds' provenance with a known rate to the last seeds' seconds."""
    works = Costs(project).work
    for recipe in project.recipes:
        if recipe.model["alias"] == "m" and recipe.seed < 2:
            finish(project, recipe, 1 + works(recipe) / 3e9)
    costs = Costs(project)
    (speed,) = costs.speeds
    assert (speed.hardware, speed.gpu, speed.runs) == ("H", True, 32)
    rest = [r for r in project.recipes if r.model["alias"] == "m" and r.seed == 2]
    expected = sum(1 + works(r) / 3e9 for r in rest)
    assert costs.seconds(rest, costs.speed()) == pytest.approx(expected, rel=1e-3)


def test_each_hardware_has_its_own_speed(project):
    works = Costs(project).work
    own = [r for r in project.recipes if r.model["alias"] == "m"]
    for place, recipe in enumerate(own):
        on_cpu = {"device": "cpu", "hardware": "C, 8 cores", "threads": 2} if place % 3 else {}
        finish(project, recipe, works(recipe) / (1e9 if on_cpu else 1e12), **on_cpu)
    costs = Costs(project)
    assert [s.hardware for s in costs.speeds] == ["C, 8 cores, 2 of them used", "H"]
    assert costs.speed(True).rates["float32"] == pytest.approx(1e12, rel=1e-3)
    assert costs.speed(False).rates["float32"] == pytest.approx(1e9, rel=1e-3)
    assert costs.speed() == costs.speeds[0]


def test_damaged_and_diverged_runs_are_not_learned_from(project):
    first, second, third, *_ = (r for r in project.recipes if r.technique == "b_v")
    finish(project, first, 5, status="diverged")
    finish(project, second, "soon")
    finish(project, third, 5)
    (project.layout.run(third) / "metrics.json").write_bytes(b"")
    assert Costs(project).done == []


def test_without_runs_a_rate_is_assumed_and_says_so(project):
    costs = Costs(project)
    assert costs.speeds == [] and costs.speed().gpu and not costs.speed(False).gpu
    assert "A100" in str(costs.speed()) and "assumed" in str(costs.speed())
    assert "fitted to 8 runs" in str(fit(made_up(WORKS, 1, {"float32": 1e12, "bfloat16": 1e12})))
    assert costs.seconds(project.recipes, costs.speed()) > 0


def test_what_is_not_known_is_not_guessed(tmp_path):
    params = json.loads(json.dumps(PARAMS))
    del params["models"]["m"]["parameters"]
    sandbox.write(tmp_path / "params.yaml", params)
    sandbox.write(tmp_path / "studies" / "mini.yaml", STUDY)
    costs = Costs(load(tmp_path / "params.yaml"))
    unknown, *_ = costs.project.recipes
    assert costs.seconds([unknown], costs.speed()) is None


def test_few_files_are_read_however_many_runs_are_done(project, monkeypatch):
    monkeypatch.setattr(cost, "SAMPLE", 5)
    for recipe in project.recipes:
        finish(project, recipe, 1)
    done = Costs(project).done
    assert len(done) == 5
    assert len({(d.recipe.cell(), d.recipe.technique) for d in done}) == 5  # not five of one pack
