"""Identity of runs: what changes a digest and what does not, precedence of settings, the grid."""

import copy
import hashlib
from pathlib import Path

import pytest

from beft.errors import UserError
from beft.study import grid as G
from beft.study import params as P
from beft.study import recipe as R
from beft.study import studies

PARAMS = {
    "study": "s",
    "training": {
        "batch_size": 16,
        "max_length": 128,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "precision": "float32",
    },
    "models": {"m": {"hub": "own/m", "revision": "r1"}, "n": {"hub": "own/n", "revision": "r1"}},
    "techniques": {},
    "tasks": {
        "sst2": {
            "hub": "own/d",
            "config": "sst2",
            "revision": "r2",
            "regimes": {"low": 10, "medium": 20},
            "learning_rate": 4e-4,
            "epochs": 16,
        },
        "rte": {"hub": "own/d", "revision": "r2", "learning_rate": 1e-3, "epochs": 3},
    },
}
STUDY = {
    "models": ["m"],
    "tasks": ["sst2"],
    "regimes": ["low"],
    "techniques": ["b_v"],
    "seeds": [0],
    "selectors": [],
}
# Canonical JSON (sorted keys, no spaces), written by hand; the digests were computed with
# `printf %s TEXT | sha256sum | cut -c1-16`. A change here means that every run gets a new folder.
SOURCE = (
    '{"config":"sst2","hub":"own/d","label":"label","labels":["negative","positive"],'
    '"revision":"r2","splits":["train","validation"],"text":["sentence"],"version":1}'
)
RECIPE = (
    '{"model":{"alias":"m","hub":"own/m","revision":"r1","sha256":null,"sites":null},"seed":0,'
    '"source":"SOURCE","subset":{"regime":"low","size":10,"stratify":false},'
    '"task":{"label":"label","labels":["negative","positive"],"metric":"accuracy","name":"sst2",'
    '"text":["sentence"],"train":"train","validation":["validation"]},"technique":"b_v",'
    '"training":{"batch_size":16,"dropout":null,"epochs":16,'
    '"learning_rate":0.0004,"max_grad_norm":1.0,"max_length":128,"precision":"float32",'
    '"weight_decay":0.0},"version":2}'
)


def changed(data: dict, *keys_and_value) -> dict:
    """A copy with one key set."""
    *keys, last, value = keys_and_value
    data = copy.deepcopy(data)
    place = data
    for key in keys:
        place = place.setdefault(key, {})
    place[last] = value
    return data


def grid(params: dict = PARAMS, study: dict = STUDY, root: Path = Path()) -> list[R.Recipe]:
    return G.grid(P.Params(**params), studies.Study(**study), root)


def sha16(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def test_the_digest_is_that_of_json_written_by_hand():
    (recipe,) = grid()
    assert recipe.source == sha16(SOURCE) == "c227dae1e7f602fe"
    assert recipe.digest == sha16(RECIPE.replace("SOURCE", recipe.source)) == "fb6c5385175e0dcd"


def test_paths_are_written_out_in_full():
    (recipe,) = grid()
    assert recipe.folder() == f"m/sst2/low/b_v/seed-0/{recipe.digest}"
    assert recipe.source_path() == f"sst2/{recipe.source}"
    assert recipe.subset_path().startswith("sst2/low/seed-0/")
    model = '{"alias":"m","hub":"own/m","revision":"r1","sha256":null,"sites":null}'
    assert recipe.model_path() == f"m/{sha16(model)}.json"


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
    (("tasks", "sst2", "train", "validation"), True),
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


def first_run(recipes: list[R.Recipe]) -> R.Recipe:
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
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "config.json").write_text("{}")
        (tmp_path / place / "model.safetensors").write_bytes(b"weights")
    digests = []
    for root, path in (("a", "model"), ("b", "elsewhere"), ("b", str(tmp_path / "a" / "model"))):
        params = changed(PARAMS, "models", "m", {"path": path})
        digests.append(grid(params, root=tmp_path / root)[0].digest)
    (tmp_path / "b/elsewhere/model.safetensors").write_bytes(b"Weights")
    params = changed(PARAMS, "models", "m", {"path": "elsewhere"})
    assert len(set(digests)) == 1
    assert grid(params, root=tmp_path / "b")[0].digest not in digests


# Layers that set learning_rate, from weakest to strongest, each with its own value.
LAYERS = [
    (("training", "learning_rate"), 1.0),
    (("tasks", "sst2", "learning_rate"), 2.0),
    (("tasks", "sst2", "models", "m", "learning_rate"), 3.0),
    (("study",), 4.0),
    (("techniques", "b_v", "learning_rate"), 5.0),
    (("tasks", "sst2", "techniques", "b_v", "learning_rate"), 6.0),
]


@pytest.mark.parametrize("strongest", range(len(LAYERS)))
def test_the_stronger_layer_wins(strongest):
    params, study = changed(PARAMS, "tasks", "sst2", "learning_rate", None), STUDY
    for keys, value in LAYERS[: strongest + 1]:
        if keys == ("study",):
            study = changed(study, "training", "learning_rate", value)
        else:
            params = changed(params, *keys, value)
    assert grid(params, study)[0].training["learning_rate"] == LAYERS[strongest][1]


def test_a_layer_that_says_nothing_leaves_the_weaker_one():
    params = changed(PARAMS, "tasks", "sst2", "models", {"m": {"epochs": 5}})
    (recipe,) = grid(params)
    assert (recipe.training["epochs"], recipe.training["learning_rate"]) == (5, 4e-4)
    assert recipe.training["batch_size"] == 16 and recipe.training["dropout"] is None


def test_what_trains_nothing_has_no_epochs_whatever_the_layers_say():
    study = changed(STUDY, "techniques", ["untuned"]) | {"training": {"epochs": 9}}
    (recipe,) = grid(study=study)
    assert (recipe.training["epochs"], recipe.training["learning_rate"]) == (0, 0.0)


@pytest.mark.parametrize("key", ["learning_rate", "epochs"])
def test_a_setting_that_nobody_makes_is_an_error(key):
    with pytest.raises(UserError, match=rf"tasks\.sst2: no {key} for b_v"):
        grid(changed(PARAMS, "tasks", "sst2", key, None))


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


WIDE = STUDY | {
    "models": ["m", "n"],
    "regimes": ["low", "medium"],
    "techniques": ["b_v", "b_q"],
    "seeds": [0, 3],
}


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


@pytest.mark.parametrize(("fuse", "packs", "runs"), [(False, 8, 2), (True, 4, 4)])
def test_a_pack_is_all_seeds_of_a_technique_or_of_all(fuse, packs, runs):
    study = studies.Study(**WIDE, fuse_techniques=fuse)
    made = G.packs(grid(study=WIDE), study)
    assert [len(pack.recipes) for pack in made] == [runs] * packs
    assert len({pack.manifest() for pack in made}) == packs
    for pack in made:
        assert len({r.cell() for r in pack.recipes}) == 1
        assert pack.manifest().startswith(f"{pack.recipes[0].cell()}/")


def test_a_manifest_is_named_by_its_runs_in_any_order_and_by_what_may_be_skipped():
    recipes = tuple(grid(study=WIDE)[:4])
    name = R.Pack(recipes, False).manifest()
    assert R.Pack(recipes[::-1], False).manifest() == name
    assert R.Pack(recipes[:3], False).manifest() != name
    assert R.Pack(recipes, True).manifest() != name


def test_only_inert_attention_terms_may_be_skipped():
    study = STUDY | {"techniques": ["b_v", "b_k", "b_output", "all_biases", "full", "head_only"]}
    recipes = tuple(grid(study=study))
    allowed = [r.technique for r in recipes if R.Pack(recipes, True).may_skip(r)]
    assert allowed == ["b_v", "b_k"]
    assert not any(R.Pack(recipes, False).may_skip(r) for r in recipes)


def test_subset_and_source_are_shared_by_whatever_does_not_concern_them():
    recipes = grid(study=WIDE)
    assert len({r.source_path() for r in recipes}) == 1
    # (regime, seed): neither model nor technique
    assert len({r.subset_path() for r in recipes}) == 4
    slow = grid(study=WIDE | {"training": {"epochs": 1, "learning_rate": 1.0}})
    assert [r.subset_path() for r in slow] == [r.subset_path() for r in recipes]


def test_all_regime_needs_no_size():
    (recipe,) = grid(study=STUDY | {"regimes": ["all"]})
    assert recipe.subset == {"regime": "all", "size": "all", "stratify": False}
