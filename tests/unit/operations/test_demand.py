"""What jobs ask for: more for larger models, for what holds more of them, never under the least."""

import json
from pathlib import Path

import pytest
from support import sandbox

from beft.operations.cost import Costs
from beft.operations.demand import demand, demand_of
from beft.operations.sizes import Shape
from beft.study.params import Execution
from beft.study.project import load
from beft.study.recipe import Pack

EXECUTION = Execution(memory_mb=2000, runtime_minutes=30)
BERT = Shape(108_310_000, 85_000_000, 12, 768)
OPT = Shape(6_658_470_000, 6_440_000_000, 32, 4096)
MIB = 2**20


@pytest.fixture(scope="module")
def packs(tmp_path_factory) -> dict[tuple[str, str], Pack]:
    """(model, technique) -> a pack of it."""
    root = tmp_path_factory.mktemp("project")
    params = json.loads(json.dumps(sandbox.PARAMS))
    params["models"] = {
        "encoder": {"hub": "own/e", "revision": "r"},
        "decoder": {"hub": "own/d", "revision": "r", "kind": "decoder"},
    }
    params["decoder"] = {"precision": "auto", "objective": "cross_entropy_over_candidates"}
    params["techniques"] |= {"all_biases": {"precision": "float32"}}
    sandbox.write(root / "params.yaml", params)
    study = sandbox.STUDY | {"models": ["encoder", "decoder"], "fuse_techniques": False}
    study["techniques"] = ["b_v", "full"]
    sandbox.write(root / "studies" / "mini.yaml", study)
    found = load(root / "params.yaml").packs.values()
    return {(p.recipes[0].model["alias"], p.recipes[0].technique): p for p in found}


def asked(pack: Pack, model: Shape | None = OPT, seconds: float | None = None):
    return demand(pack, EXECUTION, model, seconds)


def test_a_small_model_gets_what_execution_says(packs):
    small = Shape(1000, 500, 1, 4)
    found = asked(packs["encoder", "b_v"], small, seconds=1)
    assert (found.memory_mb, found.runtime_minutes) == (2000, 30)


def test_so_does_a_model_whose_size_nobody_knows(packs):
    found = asked(packs["decoder", "full"], None, None)
    assert (found.memory_mb, found.gpu_memory_mb, found.runtime_minutes) == (2000, None, 30)


def test_frozen_decoders_are_held_in_bfloat16_unless_the_precision_is_float32(packs):
    lower, exact = (asked(packs["decoder", t]) for t in ("b_v", "all_biases"))
    weights = OPT.parameters / MIB
    assert exact.memory_mb - lower.memory_mb == pytest.approx(2 * weights, abs=2)
    assert exact.gpu_memory_mb - lower.gpu_memory_mb == pytest.approx(2 * weights, abs=2)
    # inert terms are measured in float32, and so are the gradients of untuned runs
    probing = Pack(packs["decoder", "b_v"].recipes, skip_inert=True)
    measured = asked(packs["decoder", "untuned"])
    assert asked(probing).memory_mb == measured.memory_mb == exact.memory_mb


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_full_holds_values_gradients_and_two_moments_in_float32(packs, kind):
    full, frozen = (asked(packs[kind, t]) for t in ("full", "b_v"))
    assert full.gpu_memory_mb > (4 + 4 + 8) * OPT.parameters / MIB
    assert full.memory_mb > full.gpu_memory_mb > 2 * frozen.gpu_memory_mb


def test_estimates_hold_what_was_measured(packs):
    """docs/decoders.md: OPT-6.7B took 20.03 GB, OPT-1.3B 5.46 GB, both of the whole process."""
    small = Shape(1_315_758_080, 1_208_000_000, 24, 2048)
    for model, measured in ((OPT, 20.03e9), (small, 5.46e9)):
        found = asked(packs["decoder", "b_v"], model).memory_mb * MIB
        assert measured < found < 1.4 * measured


def test_the_largest_run_of_a_pack_decides(packs):
    runs = (packs["decoder", "b_v"].recipes[0], packs["decoder", "full"].recipes[0])
    assert asked(Pack(runs, False)) == asked(packs["decoder", "full"])


def test_time_is_that_of_the_work_with_a_margin_rounded_up(packs):
    pack = packs["encoder", "b_v"]
    hours = asked(pack, BERT, 10 * 3600 + 1).runtime_minutes
    assert 20 * 60 < hours < 40 * 60
    assert isinstance(hours, int)
    assert asked(pack, BERT, 20 * 3600).runtime_minutes > hours
    assert asked(pack, BERT, None).runtime_minutes == 30


def test_the_papers_jobs_fit_where_the_paper_ran_them():
    """An A40 had 48 GB for OPT-1.3B, an A100 80 GB for OPT-6.7B, a T4 16 GB for encoders."""
    project = load(Path(sandbox.ROOT / "params.yaml"), "paper")
    costs = Costs(project)
    room = {"opt-1.3b": 48_000, "opt-6.7b": 80_000, "bert-base-cased": 16_000}
    for pack in project.packs.values():
        alias = pack.recipes[0].model["alias"]
        found = demand_of(costs, pack)
        assert found.gpu_memory_mb < room.get(alias, 80_000)
        assert found.memory_mb >= project.params.execution.memory_mb
