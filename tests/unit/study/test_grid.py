"""The grid of a study: which keys make another run, the order of runs, and how they are packed."""

import pytest
from support import tiny
from support.small_study import PARAMS, STUDY, WIDE, changed, grid

from beft.errors import UserError
from beft.study import grid as grids
from beft.study.grid import packs
from beft.study.recipe import Recipe
from beft.study.studies import Study

SITES = {"layers": "encoder.layer", "q": "a.q", "k": "a.k", "v": "a.v"}
# What is set, and whether the run becomes another one.
PARAMS_CHANGES = [
    (("tasks", "sst2", "learning_rate", 5e-4), True),
    (("tasks", "sst2", "epochs", 17), True),
    (("training", "batch_size", 8), True),
    (("training", "max_length", 64), True),
    (("training", "weight_decay", 0.1), True),
    (("training", "max_grad_norm", 2.0), True),
    (("training", "dropout", 0.0), True),
    (("training", "precision", "bfloat16"), True),
    (("techniques", "b_v", {"epochs": 2}), True),
    (("tasks", "sst2", "models", {"m": {"epochs": 2}}), True),
    (("tasks", "sst2", "techniques", {"b_v": {"epochs": 2}}), True),
    (("tasks", "sst2", "regimes", "low", 11), True),
    (("tasks", "sst2", "stratify", True), True),
    (("tasks", "sst2", "text", ["idx", "sentence"]), True),
    (("tasks", "sst2", "label", "gold"), True),
    (("tasks", "sst2", "labels", ["positive", "negative"]), True),
    (("tasks", "sst2", "metric", "f1"), True),
    (("tasks", "sst2", "validation", ["test"]), True),
    (("tasks", "sst2", "train", "other"), True),
    (("tasks", "sst2", "revision", "r3"), True),
    (("tasks", "sst2", "hub", "own/e"), True),
    (("tasks", "sst2", "config", "cola"), True),
    (("models", "m", "revision", "r2"), True),
    (("models", "m", "hub", "own/other"), True),
    (("models", "m", "sha256", "0" * 64), True),
    (("models", "m", "sites", SITES), True),
    (("execution", "threads", 7), False),
    (("execution", "memory_mb", 7), False),
    (("execution", "runtime_minutes", 7), False),
    (("execution", "gpu", 1), False),
    (("execution", "checkpoint_seconds", 7), False),
    (("study", "another"), False),
    (("tasks", "sst2", "regimes", "medium", 30), False),
    (("tasks", "sst2", "models", {"n": {"epochs": 2}}), False),
    (("tasks", "sst2", "techniques", {"full": {"epochs": 2}}), False),
    (("tasks", "rte", "epochs", 9), False),
    (("models", "n", "revision", "r9"), False),
    (("techniques", "full", {"learning_rate": 1e-5}), False),
    (("tasks", "sst2", "learning_rate", "4e-4"), False),  # YAML 1.1 reads 4e-4 as text
    (("training", "weight_decay", 0), False),  # the same number
]
STUDY_CHANGES = [
    (("training", "learning_rate", 5e-4), True),
    (("training", "dropout", 0.1), True),
    (("training", "epochs", 16), False),  # what the task says already
    (("description", "other words"), False),
    (("selectors", ["projection", "fisher"]), False),
    (("tables", []), False),
    (("figures", []), False),
    (("skip_inert", True), False),
    (("fuse_techniques", True), False),
    (("seeds", [0, 1, 2]), False),
    (("seeds", [7, 0]), False),
    (("regimes", ["low", "medium", "all"]), False),
    (("techniques", ["full", "b_v", "b_q"]), False),
    (("tasks", ["rte", "sst2"]), False),
    (("models", ["n", "m"]), False),
]


def first_run(recipes: list[Recipe]) -> Recipe:
    """The run of m, sst2, b_v, low, seed 0: in every grid of this table exactly once."""
    wanted = [r for r in recipes if (r.cell(), r.technique, r.seed) == ("m/sst2/low", "b_v", 0)]
    assert len(wanted) == 1
    return wanted[0]


@pytest.mark.parametrize(("change", "other"), PARAMS_CHANGES)
def test_which_parameters_make_another_run(change, other):
    study = changed(STUDY, "tasks", ["sst2"])
    changed_params = changed(PARAMS, *change)
    if change[:3] == ("tasks", "rte", "epochs"):
        study = changed(STUDY, "tasks", ["sst2", "rte"])
        changed_params["tasks"]["rte"]["regimes"] = {"low": 5}
    assert (first_run(grid(changed_params, study)).digest != grid()[0].digest) is other


@pytest.mark.parametrize(("change", "other"), STUDY_CHANGES)
def test_which_choices_of_a_study_make_another_run(change, other):
    params = changed(PARAMS, "tasks", "rte", "regimes", {"low": 5, "medium": 6})
    assert (first_run(grid(params, changed(STUDY, *change))).digest != grid()[0].digest) is other


def test_a_local_model_is_its_content_wherever_it_lies(tmp_path):
    for place in ("a/model", "b/elsewhere"):
        tiny.checkpoint("bert", tmp_path / place)
    digests = []
    for root, path in (("a", "model"), ("b", "elsewhere"), ("b", str(tmp_path / "a" / "model"))):
        params = changed(PARAMS, "models", "m", {"path": path})
        digests.append(grid(params, root=tmp_path / root)[0].digest)
    tiny.checkpoint("bert", tmp_path / "b/elsewhere", seed=1)
    params = changed(PARAMS, "models", "m", {"path": "elsewhere"})
    assert len(set(digests)) == 1
    assert grid(params, root=tmp_path / "b")[0].digest not in digests


@pytest.mark.parametrize(
    ("selectors", "added"),
    [
        ([], []),
        (["fisher"], ["untuned"]),
        (["fisher_batch"], ["untuned"]),
        # `untuned` also for snapshots: it measures which terms are inert
        (["projection"], ["all_biases", "untuned"]),
        (["projection_printed"], ["all_biases", "untuned"]),
        (["magnitude", "fisher"], ["all_biases", "untuned"]),
    ],
)
def test_selectors_bring_the_runs_they_need(selectors, added):
    study = changed(STUDY, "selectors", selectors)
    assert [r.technique for r in grid(study=study)] == ["b_v", *added]
    asked = changed(study, "techniques", ["untuned", "b_v", "all_biases"])
    assert [r.technique for r in grid(study=asked)] == ["untuned", "b_v", "all_biases"]


def test_the_grid_is_every_combination_in_the_order_of_the_study():
    keys = [(r.model["alias"], r.regime, r.technique, r.seed) for r in grid(study=WIDE)]
    assert keys == [
        (model, regime, technique, seed)
        for model in ("m", "n")
        for regime in ("low", "medium")
        for technique in ("b_v", "b_q")
        for seed in (0, 3)
    ]
    assert len({r.digest for r in grid(study=WIDE)}) == 16


@pytest.mark.parametrize(("fuse", "jobs", "runs"), [(False, 8, 2), (True, 4, 4)])
def test_a_pack_is_all_seeds_of_a_technique_or_of_all(fuse, jobs, runs):
    study = Study(**WIDE, fuse_techniques=fuse)
    made = packs(grid(study=WIDE), study)
    assert [len(pack.recipes) for pack in made] == [runs] * jobs
    assert len({pack.manifest() for pack in made}) == jobs
    for pack in made:
        assert len({r.cell() for r in pack.recipes}) == 1
        assert pack.manifest().startswith(f"{pack.recipes[0].cell()}/")


def test_all_regime_needs_no_size():
    (recipe,) = grid(study=STUDY | {"regimes": ["all"]})
    assert recipe.subset == {"regime": "all", "size": "all", "stratify": False}


def test_a_study_with_more_runs_than_can_be_listed_is_refused(monkeypatch):
    monkeypatch.setattr(grids, "MOST_RUNS", 16)
    assert len(grid(study=WIDE)) == 16
    with pytest.raises(UserError, match="24 runs; a study has at most 16"):
        grid(study=WIDE | {"seeds": [0, 3, 5]})
    with pytest.raises(UserError, match="32 runs"):
        grid(study=WIDE | {"also": [{"seeds": [7, 8]}]})


def test_runs_that_only_selectors_need():
    study = WIDE | {"selectors": ["projection"], "also": [{"techniques": ["all_biases"]}]}
    study["also"][0] |= {"models": ["n"], "seeds": [9]}
    found = grids.added_for_selectors(grid(study=study), Study(**study))
    keys = {(r.model["alias"], r.technique) for r in found}
    assert keys == {("m", "all_biases"), ("m", "untuned"), ("n", "untuned")}
    none = STUDY | {"selectors": []}
    assert grids.added_for_selectors(grid(study=none), Study(**none)) == []
